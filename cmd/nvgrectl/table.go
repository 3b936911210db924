package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows in columns. A heading that begins with '>' aligns its
// column to the right.
type table struct {
	indent string
	rows   [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table; the first row has the headings.
func (t *table) print(w io.Writer) {
	right := make([]bool, len(t.rows[0]))
	width := make([]int, len(t.rows[0]))
	for c, h := range t.rows[0] {
		t.rows[0][c], right[c] = strings.CutPrefix(h, ">")
	}
	for _, r := range t.rows {
		for c, cell := range r {
			width[c] = max(width[c], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range t.rows {
		var line strings.Builder
		line.WriteString(t.indent)
		for c, cell := range r {
			pad := strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell))
			if right[c] {
				cell = pad + cell
			} else {
				cell += pad
			}
			if c > 0 {
				line.WriteString("  ")
			}
			line.WriteString(cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// wrap prints words behind a label, broken into lines that begin where the
// first one does.
func wrap(w io.Writer, label string, words []string) {
	const columns = 100
	line := label
	at := len(label)
	for i, word := range words {
		if i > 0 && len(line)+1+len(word) > columns {
			fmt.Fprintln(w, line)
			line = strings.Repeat(" ", at) + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(w, line)
}
