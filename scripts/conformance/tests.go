package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
)

// claim is what a comment says that a test shows.
type claim struct {
	word string // Shows or Hostile
	id   string
	test string // package and function
	pos  token.Position
}

// collect returns the claims of all tests of the module at root, whatever they
// are built for.
func collect(root string) (all []claim, err error) {
	var errs []error
	fset := token.NewFileSet()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		tree, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		claims, err := claimsOf(fset, tree, filepath.ToSlash(pkg))
		all, errs = append(all, claims...), append(errs, err)
		return nil
	})
	return all, errors.Join(append(errs, err)...)
}

// claimsOf returns the claims of one file.
func claimsOf(fset *token.FileSet, tree *ast.File, pkg string) (all []claim, err error) {
	var errs []error
	for _, group := range tree.Comments {
		for _, c := range group.List {
			word, ids := claimed(c.Text)
			if word == "" {
				continue
			}
			pos := fset.Position(c.Pos())
			name := testAround(tree, c)
			if name == "" {
				errs = append(errs, fmt.Errorf("%s: %q belongs to no test; want it in the comment of one, or within it", pos, c.Text))
				continue
			}
			for _, id := range ids {
				if id = strings.TrimSpace(id); id != "" {
					all = append(all, claim{word, id, pkg + "." + name, pos})
				}
			}
		}
	}
	return all, errors.Join(errs...)
}

// claimed splits a comment that is a claim.
func claimed(comment string) (word string, ids []string) {
	for _, word := range []string{"Shows", "Hostile"} {
		if rest, ok := strings.CutPrefix(comment, "// "+word+": "); ok {
			return word, strings.Split(rest, ",")
		}
	}
	return "", nil
}

// testAround returns the name of the test or fuzz target that a comment belongs
// to, "" if there is none.
func testAround(tree *ast.File, c *ast.Comment) string {
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") {
			continue
		}
		from := f.Pos()
		if f.Doc != nil {
			from = f.Doc.Pos()
		}
		if from <= c.Pos() && c.Pos() < f.End() {
			return f.Name.Name
		}
	}
	return ""
}
