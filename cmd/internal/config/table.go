package config

import (
	"fmt"
	"strings"
)

// kind is how a setting is written in a file. On the command line everything
// is text, the elements of a list separated by colons.
type kind string

const (
	number kind = "a whole number"
	text   kind = "text in quotes"
	list   kind = "a list of texts"
)

// setting describes one setting of a T.
type setting[T any] struct {
	key  string
	kind kind
	want string // what a right value is, for messages: "KEY: VALUE is wrong, want ..."
	help string // what it does, for --help
	live bool   // SIGHUP can change it
	only []Kind // the kinds of port it is for; none: all there are
	get  func(*T) string
	// set reports an error for a value it cannot take; the caller adds want.
	set func(*T, string) error
}

// assign sets the setting to v, or returns an error that names the key, the
// value and what would be right.
func (s *setting[T]) assign(t *T, v string) error {
	if err := s.set(t, v); err != nil {
		return fmt.Errorf("%s: %q is %w; want %s", s.key, v, err, s.want)
	}
	return nil
}

// find returns the setting of a key, or an error that names the nearest one.
func find[T any](table []setting[T], key string) (*setting[T], error) {
	for i := range table {
		if table[i].key == key {
			return &table[i], nil
		}
	}
	keys := make([]string, len(table))
	for i := range table {
		keys[i] = table[i].key
	}
	if near := nearest(keys, key); near != "" {
		return nil, fmt.Errorf("there is no setting %q; did you mean %s?", key, near)
	}
	return nil, fmt.Errorf("there is no setting %q; there are %s", key, strings.Join(keys, ", "))
}

// nearest returns the key that differs least from s, "" when none is close.
func nearest(keys []string, s string) string {
	best, least := "", len(s)/2+1
	for _, k := range keys {
		if d := distance(k, s); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to make b
// out of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
