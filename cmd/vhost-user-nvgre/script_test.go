package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// binaries is the folder with the programs as a user would have them.
var binaries string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "bin")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	args := []string{"build", "-o", dir, "-ldflags=-X vhost-user-nvgre/cmd/internal/version.stamped=v0.0.0-test"}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, ".", "../nvgrectl")...)
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	binaries = dir
	return m.Run(), nil
}

// TestScripts runs the transcripts in testdata/script. Beside testscript's own
// commands they have
//
//	start NAME ARG...      start the daemon and wait until it says that it is ready
//	signal NAME SIGNAL     send it TERM, INT, HUP or KILL
//	notified NAME STATE    wait until it tells its service manager STATE
//	logs NAME REGEXP       wait until it logs a line that matches
//	exits NAME CODE        wait until it exits, with that code
//	code CODE PROG ARG...  run a program that exits with that code
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", binaries+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
			// Every script has a control socket of its own.
			env.Setenv("CTL", filepath.Join(env.WorkDir, "ctl.sock"))
			env.Values[daemonsKey{}] = map[string]*process{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "signal": sendSignal, "notified": notified,
			"logs": logs, "exits": exits, "code": code,
		},
		RequireExplicitExec: true,
	})
}

type daemonsKey struct{}

func daemon(ts *testscript.TestScript, name string) *process {
	p := ts.Value(daemonsKey{}).(map[string]*process)[name]
	if p == nil {
		ts.Fatalf("no daemon %s was started", name)
	}
	return p
}

// want checks the number of arguments and that the command is not negated.
func want(ts *testscript.TestScript, neg bool, args []string, n int, usage string) {
	if neg || len(args) < n {
		ts.Fatalf("usage: %s", usage)
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "start NAME ARG...")
	name := args[0]
	p, err := startProcess(processOptions{
		program: filepath.Join(binaries, "vhost-user-nvgre"), args: args[1:], dir: ts.MkAbs("."),
		env:    []string{"XDG_RUNTIME_DIR=" + ts.Getenv("WORK"), "PATH=" + ts.Getenv("PATH")},
		notify: ts.MkAbs(name + ".notify"),
	})
	ts.Check(err)
	ts.Value(daemonsKey{}).(map[string]*process)[name] = p
	ts.Defer(func() { ts.Logf("[%s logged]\n%s", name, p.kill()) })
	ts.Check(p.waitNotified("READY=1"))
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "signal NAME SIGNAL")
	sig, ok := signals[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(daemon(ts, args[0]).cmd.Process.Signal(sig))
}

func notified(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "notified NAME STATE")
	ts.Check(daemon(ts, args[0]).waitNotified(args[1]))
}

func logs(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "logs NAME REGEXP")
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	ts.Check(daemon(ts, args[0]).waitLogged(re))
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "exits NAME CODE")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	got, err := daemon(ts, args[0]).wait()
	ts.Check(err)
	if got != n {
		ts.Fatalf("%s exited with %d, want %d", args[0], got, n)
	}
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "code CODE PROG ARG...")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != n {
		ts.Fatalf("%v exited with %d, want %d", args[1:], got, n)
	}
}
