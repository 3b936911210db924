package cpu

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	top := features{level: AVX512, vpclmul: true}
	zen3 := features{level: AVX2, vpclmul: true}
	for _, c := range []struct {
		have features
		env  string
		want features
		err  string // part of the error, "" for none
	}{
		{top, "", top, ""},
		{top, "avx512", top, ""},
		{top, "avx2", zen3, ""},
		{top, "generic", features{}, ""},
		{zen3, "avx512", zen3, "has no avx512"},
		{zen3, "avx2", zen3, ""},
		{features{}, "avx2", features{}, "has no avx2"},
		{top, "AVX2", top, `"AVX2" is not a level: want one of generic, avx2, avx512`},
		{top, "sse", top, "is not a level"},
	} {
		got, err := choose(c.have, c.env)
		if got != c.want {
			t.Errorf("choose(%+v, %q) = %+v, want %+v", c.have, c.env, got, c.want)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("choose(%+v, %q) error %v, want one with %q", c.have, c.env, err, c.err)
		}
	}
}

func TestLevels(t *testing.T) {
	l := Levels()
	if len(l) == 0 || l[0] != Generic || l[len(l)-1] != found.level {
		t.Errorf("Levels() = %v, want generic to %v", l, found.level)
	}
	if Current() > found.level {
		t.Errorf("Current() = %v above what the processor has, %v", Current(), found.level)
	}
	if HasAVX512 && !HasAVX2 {
		t.Error("HasAVX512 without HasAVX2: levels must nest")
	}
	t.Logf("levels %v, current %v, vpclmul %v", l, Current(), CanVPCLMUL())
}
