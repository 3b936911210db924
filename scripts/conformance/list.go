package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// list is a file of requirements. A line is a comment (#), a heading (##), a
// row, or empty.
type list struct {
	file  string
	word  string // of the comments in tests
	title string
	lines []line
}

// line is a row, or text that is none.
type line struct {
	text string
	row  *row
}

// row is a requirement.
type row struct {
	ids    []string // the first is its name, the others mean the same
	scope  string   // now, or "later: " or "never: " and why
	demand string
	tests  []string // that show it, sorted
}

const now = "now"

func (r *row) name() string { return r.ids[0] }
func (r *row) never() bool  { return strings.HasPrefix(r.scope, "never: ") }
func (r *row) later() bool  { return strings.HasPrefix(r.scope, "later: ") }

// add notes a test that shows the requirement.
func (r *row) add(test string) {
	if i, found := slices.BinarySearch(r.tests, test); !found {
		r.tests = slices.Insert(r.tests, i, test)
	}
}

// parse reads a file's content. Merging two versions may leave a row twice; the
// one that is further is kept.
func (l *list) parse(b []byte) error {
	seen := map[string]*row{}
	for i, text := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		if text == "" || text[0] == '#' {
			l.lines = append(l.lines, line{text: text})
			continue
		}
		r, err := parseRow(text)
		if err != nil {
			return fmt.Errorf("%s/%s:%d: %w", dir, l.file, i+1, err)
		}
		if old := seen[r.name()]; old != nil {
			if !slices.Equal(old.ids, r.ids) || old.demand != r.demand || !old.later() && !r.later() && old.scope != r.scope {
				return fmt.Errorf("%s/%s:%d: %s is listed twice and not alike; remove one", dir, l.file, i+1, r.name())
			}
			if old.later() {
				old.scope = r.scope
			}
			continue
		}
		for _, id := range r.ids {
			if seen[id] != nil {
				return fmt.Errorf("%s/%s:%d: %s is another name of %s already", dir, l.file, i+1, id, seen[id].name())
			}
			seen[id] = r
		}
		l.lines = append(l.lines, line{row: r})
	}
	return nil
}

func parseRow(text string) (*row, error) {
	parts := strings.SplitN(text, " | ", 3)
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return nil, fmt.Errorf("%q: want a number, a scope and a demand with ` | ` between", text)
	}
	r := &row{ids: strings.Split(parts[0], ", "), scope: parts[1], demand: parts[2]}
	if r.scope != now && !r.later() && !r.never() {
		return nil, fmt.Errorf("%s: scope %q: want `now`, `later: ...` or `never: ...`", r.name(), r.scope)
	}
	return r, nil
}

// promote marks rows as in scope that tests show.
func (l *list) promote() {
	for _, r := range l.rows() {
		if r.later() && len(r.tests) > 0 {
			r.scope = now
		}
	}
}

func (l *list) rows() (all []*row) {
	for _, s := range l.lines {
		if s.row != nil {
			all = append(all, s.row)
		}
	}
	return all
}

// find returns the row with a name, nil if there is none.
func (l *list) find(id string) *row {
	for _, s := range l.lines {
		if s.row != nil && slices.Contains(s.row.ids, id) {
			return s.row
		}
	}
	return nil
}

// text returns the file's content.
func (l *list) text() []byte {
	var b bytes.Buffer
	for _, s := range l.lines {
		if r := s.row; r != nil {
			s.text = strings.Join(r.ids, ", ") + " | " + r.scope + " | " + r.demand
		}
		fmt.Fprintln(&b, s.text)
	}
	return b.Bytes()
}
