package main

import (
	"bytes"
	"fmt"
	"strings"
)

const preface = `# Conformance

Which test shows which requirement. The requirements on rings and on the network
device are those of the virtio specification 1.4 (VNET), those on offloads, RSS
and VMQ are those of the NDIS documentation (NDIS), both in this project's own
numbering and words; the hostile inputs are faults of other back ends.

` + "`make conformance`" + ` writes this file from the lists in scripts/conformance
and from the comments of the tests; do not edit it. What is *not shown yet*
awaits the part that is named; a requirement in scope without a test fails
` + "`make test`" + `.

A test stands for as much as its package sees: one of virtio/ctrl or of
offload/ndis shows what is understood and decided, one of offload what happens
to a frame, one of queues what happens between rings, one of guest-tests what a
guest finds.
`

// markdown returns the report.
func (c *conformance) markdown() []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	fmt.Fprintf(&b, "\n| | shown | not shown yet | do not apply |\n|---|---|---|---|\n")
	for _, l := range c.lists {
		var shown, open, never int
		for _, r := range l.rows() {
			switch {
			case r.never():
				never++
			case len(r.tests) > 0:
				shown++
			default:
				open++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", l.title, shown, open, never)
	}
	for _, l := range c.lists {
		l.markdown(&b)
	}
	return b.Bytes()
}

func (l *list) markdown(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n", l.title)
	for _, s := range l.lines {
		if heading, ok := strings.CutPrefix(s.text, "## "); ok {
			fmt.Fprintf(b, "\n### %s\n\n| | | shown by |\n|---|---|---|\n", heading)
		}
		if r := s.row; r != nil {
			fmt.Fprintf(b, "| %s | %s | %s |\n", strings.Join(r.ids, ", "), r.demand, r.shown())
		}
	}
}

// shown returns the tests, or why there are none.
func (r *row) shown() string {
	if len(r.tests) > 0 {
		return "`" + strings.Join(r.tests, "`, `") + "`"
	}
	if why, ok := strings.CutPrefix(r.scope, "later: "); ok {
		return "*not shown yet*: " + why
	}
	if why, ok := strings.CutPrefix(r.scope, "never: "); ok {
		return "does not apply: " + why
	}
	return "**no test**"
}
