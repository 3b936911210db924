package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/queues"
)

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{fmt.Errorf("x: %w", &config.Error{Usage: true, Err: errors.New("y")}), 2},
		{fmt.Errorf("x: %w", &config.Error{Err: errors.New("y")}), 3},
		{&config.Error{Err: fs.ErrNotExist}, 3},
		{&fs.PathError{Op: "open", Path: "/x", Err: unix.EACCES}, 4},
		{fmt.Errorf("bind: %w", unix.EPERM), 4},
		{&fs.PathError{Op: "listen", Path: "/x", Err: unix.EADDRINUSE}, 5},
		{fmt.Errorf("interface tap0: another program uses it: %w", unix.EBUSY), 5},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestMainCapabilities(t *testing.T) {
	for _, args := range [][]string{
		{"--print-capabilities"},
		{"--print-capabilities=true"},
		{"--nonsense", "--fd=3", "--socket-path=x", "--print-capabilities", "arg"},
	} {
		var out, errs strings.Builder
		if code := Main(args, &out, &errs); code != 0 || out.String() != "{\"type\":\"net\"}\n" || errs.Len() > 0 {
			t.Errorf("Main(%q) = %d, prints %q and %q", args, code, out.String(), errs.String())
		}
	}
}

func TestSortSignals(t *testing.T) {
	in, out := make(chan os.Signal), make(chan os.Signal, 2)
	var again []os.Signal
	done := make(chan struct{})
	go func() {
		defer close(done)
		sortSignals(in, out, func(s os.Signal) { again = append(again, s) })
	}()
	// Nobody reads out meanwhile, as when a reload takes long.
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		in <- s
	}
	close(in)
	<-done
	close(out)
	var got []os.Signal
	for s := range out {
		got = append(got, s)
	}
	if want := []os.Signal{syscall.SIGHUP, syscall.SIGTERM}; !slices.Equal(got, want) {
		t.Errorf("handed on %v, want %v", got, want)
	}
	if want := []os.Signal{syscall.SIGINT}; !slices.Equal(again, want) {
		t.Errorf("asked to end again by %v, want %v", again, want)
	}
}

func TestGroups(t *testing.T) {
	own := strconv.Itoa(os.Getgid())
	names := map[string]int{"": -1, own: os.Getgid()}
	if g, err := user.LookupGroupId(own); err == nil {
		names[g.Name] = os.Getgid()
	}
	for name, want := range names {
		if got, err := groupID(name); err != nil || got != want {
			t.Errorf("groupID(%q) = %d, %v; want %d", name, got, err, want)
		}
	}
	if _, err := groupID("no such group"); exitCode(err) != exitConfig {
		t.Errorf("groupID of no group: %v, want a fault of the configuration", err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := giveToGroup(path, own); err != nil {
		t.Errorf("giveToGroup(own group): %v", err)
	}
}

// The configuration must not take what the engine refuses.
func TestLimitsAgree(t *testing.T) {
	for _, most := range []bool{false, true} {
		s, p := config.Default(), config.DefaultPort()
		s.Shards, s.MACTable, s.MACAge = 1, 16, 1e9
		p.Name, p.FD, p.QueuePairs, p.MTU = "a", 3, 1, 68
		if most {
			s.MACTable, p.QueuePairs, p.MTU = 1<<20, 64, 65535
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		e, err := queues.New(queues.Config{Shards: s.Shards, MACTable: s.MACTable, MACAge: s.MACAge, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.AddPort(queues.PortConfig{Name: p.Name, QueuePairs: p.QueuePairs, MAC: p.Address(), MTU: p.MTU})
		if err != nil {
			t.Errorf("AddPort: %v", err)
		}
		e.Close()
	}
}

func TestSetLogging(t *testing.T) {
	var out strings.Builder
	log := NewLogger("warn", "json")
	log.SetOutput(&out)
	log.Info("one")
	log.Warn("two")
	setLogging(log, "debug", "text")
	log.Debug("three")
	got := out.String()
	if strings.Contains(got, "one") || !strings.Contains(got, `"msg":"two"`) || !strings.Contains(got, "msg=three") {
		t.Errorf("logged %q", got)
	}
}
