// Package version knows which version of the program this is.
package version

import "runtime/debug"

// stamped is set by the linker: -X vhost-user-nvgre/cmd/internal/version.stamped=...
var stamped string

// String returns the version the build was stamped with, or what the go
// command noted about the source it built.
func String() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return fromBuild(info)
}

func fromBuild(info *debug.BuildInfo) string {
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "-modified"
			}
		}
	}
	if revision == "" {
		return "unknown"
	}
	return revision + modified
}
