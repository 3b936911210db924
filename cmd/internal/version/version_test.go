package version

import (
	"runtime/debug"
	"testing"
)

func TestFromBuild(t *testing.T) {
	for _, tt := range []struct {
		settings []debug.BuildSetting
		want     string
	}{
		{nil, "unknown"},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}}, "0123456789ab"},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "01"}, {Key: "vcs.modified", Value: "true"}}, "01-modified"},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "01"}, {Key: "vcs.modified", Value: "false"}}, "01"},
	} {
		if got := fromBuild(&debug.BuildInfo{Settings: tt.settings}); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.settings, got, tt.want)
		}
	}
}

func TestStamped(t *testing.T) {
	defer func(s string) { stamped = s }(stamped)
	stamped = "v1.2.3"
	if got := String(); got != "v1.2.3" {
		t.Errorf("String() = %q", got)
	}
	stamped = ""
	if got := String(); got == "" {
		t.Error("String() is empty without a stamp")
	}
}
