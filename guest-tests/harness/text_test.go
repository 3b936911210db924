package harness

import (
	"errors"
	"strings"
	"testing"
)

func TestTail(t *testing.T) {
	var log strings.Builder
	tail := NewTail(5, &log)
	_, more := tail.snapshot()
	for _, s := range []string{"abc", "defg", ""} {
		if n, err := tail.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("Write(%q) = %d, %v", s, n, err)
		}
	}
	if got := tail.String(); got != "cdefg" {
		t.Errorf("String() = %q, want cdefg", got)
	}
	if log.String() != "abcdefg" {
		t.Errorf("the copy holds %q, want all of it", log.String())
	}
	select {
	case <-more:
	default:
		t.Error("the write was not announced")
	}
	tail = NewTail(5, failingWriter{})
	for range 2 {
		if _, err := tail.Write([]byte("ab")); err != nil {
			t.Errorf("Write() with a copy that fails = %v, want nil", err)
		}
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestLastLines(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""},
		{"a\nb\nc\n", 2, "b\nc"},
		{"a\nb\nc", 2, "b\nc"},
		{"a\nb\n\r\n", 1, "b"},
		{"a\nb", 5, "a\nb"},
	} {
		if got := lastLines(tt.text, tt.n); got != tt.want {
			t.Errorf("lastLines(%q, %d) = %q, want %q", tt.text, tt.n, got, tt.want)
		}
	}
}

func TestLineLogger(t *testing.T) {
	var got []string
	w := &lineLogger{prefix: "g", logf: func(_ string, args ...any) { got = append(got, string(args[1].([]byte))) }}
	for _, s := range []string{"one\r\ntw", "o\nthree"} {
		if _, err := w.Write([]byte(s)); err != nil {
			t.Error(err)
		}
	}
	if len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("lines %q, want one, two", got)
	}
}

func TestApplets(t *testing.T) {
	if got := applets("busybox\nip\nls\ntc\nsh\n"); strings.Join(got, " ") != "ls sh" {
		t.Errorf("applets() = %q, want ls and sh: the others are real programs", got)
	}
}
