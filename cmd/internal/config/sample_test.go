package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

const documentation = "../../../docs/configuration.md"

// sample returns the file in the documentation.
func sample(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(doc, -1)
	if len(blocks) != 1 {
		t.Fatalf("%s has %d blocks of TOML, want 1, the complete file", documentation, len(blocks))
	}
	return string(blocks[0][1])
}

func TestSampleHasEverySettingWithItsDefault(t *testing.T) {
	text := sample(t)
	got := Default()
	// What the sample leaves alone must be seen to be left alone, so each
	// setting starts with a value that is not its default.
	spoil(&got)
	if err := parseFile(&got, "sample", []byte(text)); err != nil {
		t.Fatal(err)
	}
	want := Default()
	global, port, _ := strings.Cut(text, "[[port]]")
	compareSample(t, globalSettings, global, &got, &want)

	if len(got.Ports) != 1 {
		t.Fatalf("the sample has %d ports, want 1", len(got.Ports))
	}
	wantPort := DefaultPort()
	wantPort.Name, wantPort.Socket = "vm0", "/run/vm0.sock"
	compareSample(t, portSettings, port, &got.Ports[0], &wantPort)
	if err := got.check(); err != nil {
		t.Errorf("the sample is refused: %v", err)
	}
}

// compareSample checks that each setting of a table stands in text and has
// the value it has in want.
func compareSample[T any](t *testing.T, table []setting[T], text string, got, want *T) {
	t.Helper()
	for i := range table {
		s := &table[i]
		if n := len(regexp.MustCompile(`(?m)^`+s.key+` = `).FindAllString(text, -1)); n != 1 {
			t.Errorf("%s stands in the sample %d times, want once", s.key, n)
		}
		if g, w := s.get(got), s.get(want); g != w {
			t.Errorf("%s is %q in the sample, but its default is %q", s.key, g, w)
		}
	}
}

// spoil gives every global setting a value that is not its default.
func spoil(s *Settings) {
	*s = Settings{
		Shards: 3, CPUs: CPUList{1}, PollMax: 1, MACTable: 1, MACAge: 1,
		LogLevel: "?", LogFormat: "?", ControlSocket: "?", ControlMode: 1, ControlGroup: "?", StateDir: "?",
	}
}

func TestSpoilCoversEverySetting(t *testing.T) {
	var s Settings
	spoil(&s)
	d := Default()
	for i := range globalSettings {
		g := &globalSettings[i]
		if g.get(&s) == g.get(&d) {
			t.Errorf("spoil leaves %s at its default %q", g.key, g.get(&d))
		}
	}
}

// The command line's help and the file say the same of a setting's name; the
// documentation's table of changes names each one that is live.
func TestLiveSettingsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "## Changes at run time")
	if !found {
		t.Fatal("the section on changes at run time is missing")
	}
	check := func(key string, live bool) {
		if named := strings.Contains(table, "`"+key+"`"); named != live {
			t.Errorf("%s: named as live in the documentation: %v, in the code: %v", key, named, live)
		}
	}
	for i := range globalSettings {
		check(globalSettings[i].key, globalSettings[i].live)
	}
	for i := range portSettings {
		check(portSettings[i].key, portSettings[i].live)
	}
}
