// Package oidcli is what the command-line tools have in common that send OID
// requests: nvgrectl on the host and nvgre-guest in guests.
package oidcli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// Print writes a structure: a line for each field that is not zero, or JSON
// with all fields.
func Print(w io.Writer, s ndis.Structure, asJSON bool) error {
	if asJSON {
		return printJSON(w, s)
	}
	var lines []string
	flatten(&lines, "", reflect.ValueOf(s).Elem())
	for _, l := range lines {
		if _, err := fmt.Fprintln(w, l); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// flatten appends "a.b[0].c: value" for what is not zero.
func flatten(lines *[]string, name string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	if _, ok := v.Interface().(fmt.Stringer); !ok {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() {
					flatten(lines, strings.TrimPrefix(name+"."+f.Name, "."), v.Field(i))
				}
			}
			return
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				flatten(lines, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
			return
		}
	}
	*lines = append(*lines, fmt.Sprintf("%s: %v", name, v.Interface()))
}

// Query asks for an object and prints it.
func Query(ctx context.Context, c *oid.Client, w io.Writer, name string, asJSON bool) error {
	o, err := ndis.ParseOID(name)
	if err != nil {
		return err
	}
	s := o.Structure()
	if s == nil {
		return fmt.Errorf("%s: the structure of its answer is not known", o)
	}
	if err := c.Query(ctx, o, s); err != nil {
		return err
	}
	return Print(w, s, asJSON)
}

// Set sets an object, or calls a method, with an information buffer given in
// hexadecimal. What a method returns is printed.
func Set(ctx context.Context, c *oid.Client, w io.Writer, typ adapter.RequestType, binding uint32, name, input string, asJSON bool) error {
	o, err := ndis.ParseOID(name)
	if err != nil {
		return err
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(input), ""))
	if err != nil {
		return fmt.Errorf("information buffer: %w; want pairs of hexadecimal digits", err)
	}
	resp, err := c.Do(ctx, adapter.Request{Type: typ, OID: o, Binding: binding, Input: b, OutputLength: oid.MaxOutput})
	if err != nil {
		return err
	}
	if resp.Status != ndis.StatusSuccess {
		return &oid.StatusError{OID: o, Status: resp.Status, Detail: resp.Detail}
	}
	if typ != adapter.Method {
		return nil
	}
	s := o.Structure()
	if s == nil {
		return fmt.Errorf("%s: the structure of its answer is not known", o)
	}
	if err := s.Decode(resp.Output); err != nil {
		return err
	}
	return Print(w, s, asJSON)
}

// Watch prints indications until the connection or ctx ends.
func Watch(ctx context.Context, c *oid.Client, w io.Writer, asJSON bool) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case i, ok := <-c.Indications():
			if !ok {
				return errors.New("the connection has ended")
			}
			if err := indication(w, i, asJSON); err != nil {
				return err
			}
		}
	}
}

func indication(w io.Writer, i oid.Indication, asJSON bool) error {
	s := i.Status.Structure()
	if s == nil {
		_, err := fmt.Fprintf(w, "%s with %d bytes\n", i.Status, len(i.Body))
		return err
	}
	if err := s.Decode(i.Body); err != nil {
		return err
	}
	if asJSON {
		b, err := json.Marshal(struct {
			Status  ndis.Status
			Dropped uint32
			Body    ndis.Structure
		}{i.Status, i.Dropped, s})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	if i.Dropped > 0 {
		if _, err := fmt.Fprintf(w, "(%d indications were lost)\n", i.Dropped); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(w, "%s\n", i.Status); err != nil {
		return err
	}
	return Print(w, s, false)
}
