// Command conformance writes docs/conformance.md: which test shows which
// requirement of the virtio specification and of the NDIS documentation, and
// which hostile input. It reads the lists beside it, and the tests' own
// comments, of the forms
//
//	// Shows: VNET-042, NDIS-108
//	// Hostile: CVE-2018-1059
//
// in the comment of a test or fuzz target, or within its body. Rows of the
// lists that a test shows are marked as in scope from then on.
//
// It is run in any folder of the module. The tests of this package fail when
// the report or the lists are out of date.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	c, err := load(root)
	if err != nil {
		return err
	}
	for _, l := range c.lists {
		l.promote()
		if err := os.WriteFile(filepath.Join(root, dir, l.file), l.text(), 0o666); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, report), c.markdown(), 0o666); err != nil {
		return err
	}
	return errors.Join(c.faults()...)
}

// Paths relative to the module's root.
const (
	dir    = "scripts/conformance"
	report = "docs/conformance.md"
)

// moduleRoot returns the folder of go.mod.
func moduleRoot() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", errors.New("no go.mod here or above; run this within the module")
		}
		at = up
	}
}

// conformance is the lists together with what the tests claim.
type conformance struct {
	lists []*list
	wrong []error // claims that cannot be
}

// load reads the lists and all tests of the module at root.
func load(root string) (*conformance, error) {
	c := &conformance{}
	for _, l := range []*list{
		{file: "vnet.txt", word: "Shows", title: "virtio"},
		{file: "ndis.txt", word: "Shows", title: "NDIS"},
		{file: "hostile.txt", word: "Hostile", title: "Hostile input"},
	} {
		b, err := os.ReadFile(filepath.Join(root, dir, l.file))
		if err != nil {
			return nil, err
		}
		if err := l.parse(b); err != nil {
			return nil, err
		}
		c.lists = append(c.lists, l)
	}
	claims, err := collect(root)
	if err != nil {
		return nil, err
	}
	for _, claim := range claims {
		if err := c.enter(claim); err != nil {
			c.wrong = append(c.wrong, err)
		}
	}
	return c, nil
}

// enter notes a claim in the row that it is about.
func (c *conformance) enter(claim claim) error {
	for _, l := range c.lists {
		if r := l.find(claim.id); r != nil && l.word == claim.word {
			r.add(claim.test)
			return nil
		}
	}
	return fmt.Errorf("%s: %s: %q is in none of the lists in %s", claim.pos, claim.word, claim.id, dir)
}

// faults returns what is wrong apart from a report that is out of date.
func (c *conformance) faults() []error {
	errs := c.wrong
	for _, l := range c.lists {
		for _, r := range l.rows() {
			switch {
			case r.scope == now && len(r.tests) == 0:
				errs = append(errs, fmt.Errorf("%s is in scope and no test shows it; say so in a comment of one, `// %s: %s`, or in %s/%s why not", r.name(), l.word, r.name(), dir, l.file))
			case r.never() && len(r.tests) > 0:
				errs = append(errs, fmt.Errorf("%s is shown by %s and listed in %s as %q; want one or the other", r.name(), r.tests[0], l.file, r.scope))
			}
		}
	}
	return errs
}
