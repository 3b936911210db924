package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// apt is a private instance of Debian's package manager that only downloads.
// Its status file is empty, so every dependency counts as missing and the
// whole closure, libc included, comes down. The caller holds the release's lock.
type apt struct {
	dir    string
	target string // default release, may be empty
	logf   func(string, ...any)
}

// aptConf leaves nothing of the system's apt in force but the archive keys and
// the settings of the transport (proxies).
const aptConf = `Dir "%[1]s";
Dir::Etc "%[1]s/etc";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::Parts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::Etc::trustedparts "/usr/share/keyrings";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
`

// newAPT writes the configuration of a private apt below dir.
func newAPT(ctx context.Context, dir, mirror string, release Release, logf func(string, ...any)) (*apt, error) {
	for _, need := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(need); err != nil {
			return nil, fmt.Errorf("lab: this machine has no %s: the lab needs a Debian (or derived) system: %w", need, err)
		}
	}
	for _, sub := range []string{"etc", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	var sources strings.Builder
	for _, suite := range suites[release] {
		fmt.Fprintf(&sources, "deb %s %s main\n", mirror, suite)
	}
	conf := fmt.Sprintf(aptConf, dir) + transportSettings(ctx)
	for name, text := range map[string]string{"etc/sources.list": sources.String(), "apt.conf": conf, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	return &apt{dir: dir, logf: logf}, nil
}

var transportSetting = regexp.MustCompile(`(?m)^Acquire::(http|https|Retries|ForceIPv4|ForceIPv6|Check-Valid-Until|Check-Date)\b.*$`)

// transportSettings returns how the system's apt reaches its mirrors.
func transportSettings(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return "" // Without apt-config there are no settings to take over.
	}
	return strings.Join(transportSetting.FindAllString(string(out), -1), "\n") + "\n"
}

// systemMirror returns the URI the system's apt has for Debian itself.
func systemMirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(SUITE) $(CODENAME) $(REPO_URI)", "Origin: Debian").Output()
	if err != nil {
		return "", fmt.Errorf("lab: asking apt for its mirror: %w; set %s to a Debian mirror's URI", explain(err), EnvMirror)
	}
	if uri := pickMirror(string(out)); uri != "" {
		return uri, nil
	}
	return "", fmt.Errorf("lab: apt knows no Debian mirror (has `apt-get update` ever run?); set %s to a Debian mirror's URI", EnvMirror)
}

// pickMirror chooses from lines "suite codename URI" the first that serves
// whole releases: security archives and media hold only parts of one.
func pickMirror(targets string) string {
	sc := bufio.NewScanner(strings.NewReader(targets))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 3 || strings.Contains(f[1], "-") || strings.HasPrefix(f[2], "cdrom:") {
			continue
		}
		return strings.TrimSuffix(f[2], "/")
	}
	return ""
}

func (a *apt) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	return cmd
}

// run executes a command and returns its standard output.
func (a *apt) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := a.command(ctx, name, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("lab: %s %s: %w", name, strings.Join(args, " "), explain(err))
	}
	return out, nil
}

// explain adds the end of what a failed command said.
func explain(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	said := strings.TrimSpace(string(exit.Stderr))
	if n := len(said); n > 2000 {
		said = "…" + said[n-2000:]
	}
	return fmt.Errorf("%w: %s", err, said)
}

// update fetches the package lists. A list that cannot be fetched is an error:
// apt would go on with the rest and fail later with a riddle.
func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, "apt-get", "update", "-q", "--error-on=any")
	return err
}

// names returns the names of all packages that start with prefix, sorted.
func (a *apt) names(ctx context.Context, prefix string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "pkgnames", prefix)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(out))
	sort.Strings(names)
	return names, nil
}

// download puts the packages and, unless spec says otherwise, everything they
// depend on into an empty folder and returns the files.
func (a *apt) download(ctx context.Context, spec rootSpec) ([]string, error) {
	archives := filepath.Join(a.dir, "cache", "archives")
	if err := removeDebs(archives); err != nil {
		return nil, err
	}
	if spec.noDependencies {
		cmd := a.command(ctx, "apt-get", append([]string{"download", "-q"}, spec.packages...)...)
		cmd.Dir = archives
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("lab: downloading %v: %w: %s", spec.packages, err, stderr.String())
		}
	} else {
		args := []string{"install", "-y", "-q", "--download-only"}
		if spec.target != "" {
			args = append(args, "-t", spec.target)
		}
		if _, err := a.run(ctx, "apt-get", append(args, spec.packages...)...); err != nil {
			return nil, err
		}
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("lab: apt reported success for %v but left no packages in %s", spec.packages, archives)
	}
	return debs, err
}

func removeDebs(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	return nil
}
