package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func loadModule(t *testing.T) (root string, c *conformance) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = load(root); err != nil {
		t.Fatal(err)
	}
	return root, c
}

// Every requirement in scope has a test, every claim is about a requirement,
// and the lists and the report are what `make conformance` writes.
func TestUpToDate(t *testing.T) {
	root, c := loadModule(t)
	for _, err := range c.faults() {
		t.Error(err)
	}
	want := map[string][]byte{report: c.markdown()}
	for _, l := range c.lists {
		l.promote()
		want[filepath.Join(dir, l.file)] = l.text()
	}
	for file, b := range want {
		got, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, b) {
			t.Errorf("%s is out of date: run `make conformance` and commit what it changes", file)
		}
	}
}

// The lists are complete: none was lost in a merge, and the order is kept.
func TestLists(t *testing.T) {
	_, c := loadModule(t)
	for i, want := range []struct {
		first, last string
		rows        int
	}{
		{"VNET-001", "VNET-183", 128},
		{"NDIS-001", "NDIS-239", 239},
		{"CVE-2018-1059", "GET_VRING_BASE of a bad index", 31},
	} {
		l := c.lists[i]
		var names []string
		for _, r := range l.rows() {
			names = append(names, r.name())
		}
		if len(names) != want.rows || names[0] != want.first || names[len(names)-1] != want.last {
			t.Errorf("%s: %d rows from %s to %s, want %d from %s to %s", l.file, len(names), names[0], names[len(names)-1], want.rows, want.first, want.last)
		}
		if l.word == "Shows" && !slices.IsSorted(names) {
			t.Errorf("%s: the rows are not in order", l.file)
		}
	}
}

func TestParse(t *testing.T) {
	const twice = "# why\n\n## Part\nA-1 | later: b | one\nA-2, A-3 | now | two\nA-1 | now | one\n"
	l := &list{file: "x.txt"}
	if err := l.parse([]byte(twice)); err != nil {
		t.Fatal(err)
	}
	if got, want := string(l.text()), "# why\n\n## Part\nA-1 | now | one\nA-2, A-3 | now | two\n"; got != want {
		t.Errorf("parse(%q).text() = %q, want %q", twice, got, want)
	}
	if r := l.find("A-3"); r == nil || r.name() != "A-2" {
		t.Errorf("find(A-3) = %v, want the row A-2", r)
	}
	for text, want := range map[string]string{
		"A-1 | now":                              "want a number",
		"A-1 | soon | one":                       `scope "soon"`,
		"A-1 | later | one":                      `scope "later"`,
		" | now | one":                           "want a number",
		"A-1 | now | one\nA-1 | now | two":       "listed twice",
		"A-1 | now | one\nA-1 | never: x | one":  "listed twice",
		"A-1, A-2 | now | one\nA-2 | now | one":  "listed twice",
		"A-1 | now | one\nA-2, A-1 | now | once": "another name of A-1",
		"<<<<<<< mine":                           "want a number",
	} {
		if err := (&list{file: "x.txt"}).parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q) = %v, want an error with %q", text, err, want)
		}
	}
}

func TestPromote(t *testing.T) {
	l := &list{file: "x.txt", word: "Shows"}
	if err := l.parse([]byte("A-1 | later: b | one\nA-2 | later: b | two\nA-3 | now | three\nA-4 | never: c | four\n")); err != nil {
		t.Fatal(err)
	}
	c := &conformance{lists: []*list{l}}
	for _, test := range []claim{{word: "Shows", id: "A-1", test: "p.TestB"}, {word: "Shows", id: "A-1", test: "p.TestA"}, {word: "Shows", id: "A-1", test: "p.TestB"}} {
		if err := c.enter(test); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []claim{{word: "Shows", id: "A-9"}, {word: "Hostile", id: "A-1"}} {
		if c.enter(bad) == nil {
			t.Errorf("enter(%+v) = nil, want an error", bad)
		}
	}
	if errs := c.faults(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "A-3 is in scope and no test shows it") {
		t.Errorf("faults = %v, want one about A-3", errs)
	}
	l.find("A-4").add("p.TestA")
	if errs := c.faults(); len(errs) != 2 || !strings.Contains(errs[1].Error(), "A-4 is shown by p.TestA") {
		t.Errorf("faults = %v, want another about A-4", errs)
	}
	l.promote()
	if got, want := string(l.text()), "A-1 | now | one\nA-2 | later: b | two\nA-3 | now | three\nA-4 | never: c | four\n"; got != want {
		t.Errorf("promoted: %q, want %q", got, want)
	}
	for row, want := range map[string]string{
		"A-1": "`p.TestA`, `p.TestB`", "A-2": "*not shown yet*: b", "A-3": "**no test**", "A-4": "`p.TestA`",
	} {
		if got := l.find(row).shown(); got != want {
			t.Errorf("%s: shown = %s, want %s", row, got, want)
		}
	}
}

func TestClaims(t *testing.T) {
	const src = `package p

// TestA does.
//
// Shows: X-1, X-2
// Hostile: one thing, another
func TestA() {
	// Shows: X-3
	for {
	}
}

// Shows: X-4
func FuzzB() {}

// Shows that X-5 is no claim.
func helper() {}
`
	parse := func(src string) ([]claim, error) {
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, "p_test.go", src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		return claimsOf(fset, tree, "some/p")
	}
	all, err := parse(src)
	var got []string
	for _, c := range all {
		got = append(got, c.word+" "+c.id+" "+c.test)
	}
	want := []string{
		"Shows X-1 some/p.TestA", "Shows X-2 some/p.TestA",
		"Hostile one thing some/p.TestA", "Hostile another some/p.TestA",
		"Shows X-3 some/p.TestA", "Shows X-4 some/p.FuzzB",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("claimsOf = %q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{
		"package p\n\n// Shows: X-1\nvar table = 3\n",
		"package p\n\n// Shows: X-1\n\nfunc TestA() {}\n",
		"package p\n\n// Shows: X-1\nfunc helper() {}\n",
	} {
		if all, err := parse(bad); err == nil || len(all) > 0 {
			t.Errorf("claimsOf(%q) = %v, %v; want an error", bad, all, err)
		}
	}
}
