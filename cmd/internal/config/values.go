package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vhost-user-nvgre/virtio"
)

// What a value can be wrong in; the sentence is completed by setting.assign.
var (
	errNoNumber   = errors.New("not a whole number")
	errOutOfRange = errors.New("out of range")
	errUnknown    = errors.New("not known")
	errMalformed  = errors.New("malformed")
)

// parseInt reads a decimal number between low and high.
func parseInt(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errOutOfRange
	case err != nil:
		return 0, errNoNumber
	case n < low || n > high:
		return 0, errOutOfRange
	}
	return n, nil
}

// parseDuration reads a number of units.
func parseDuration(s string, unit time.Duration, low, high int) (time.Duration, error) {
	n, err := parseInt(s, low, high)
	return time.Duration(n) * unit, err
}

func formatDuration(d, unit time.Duration) string { return strconv.Itoa(int(d / unit)) }

// oneOf reads one of a few words.
func oneOf(s string, words ...string) (string, error) {
	if !slices.Contains(words, s) {
		return "", errUnknown
	}
	return s, nil
}

// parseMode reads permission bits in octal.
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	switch {
	case err != nil:
		return 0, errMalformed
	case n > 0o777:
		return 0, errOutOfRange
	}
	return fs.FileMode(n), nil
}

func formatMode(m fs.FileMode) string { return fmt.Sprintf("%04o", uint32(m)) }

// parseName reads the name of a port, which appears in tables, log lines and
// in the path of requests.
func parseName(s string) (string, error) {
	if s == "" || len(s) > 63 || s[0] == '.' || s[0] == '-' {
		return "", errMalformed
	}
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune("._-", c):
		default:
			return "", errMalformed
		}
	}
	return s, nil
}

// maxSocketPath is the longest path a Unix socket address has room for.
const maxSocketPath = 107

// parsePath reads the path of a socket; it may be empty.
func parsePath(s string) (string, error) {
	switch {
	case len(s) > maxSocketPath:
		return "", errors.New("too long")
	case strings.ContainsRune(s, 0):
		return "", errMalformed
	}
	return s, nil
}

// maxInterface is the longest name of a network interface.
const maxInterface = 15

// parseInterface reads the name of a network interface; it may be empty.
func parseInterface(s string) (string, error) {
	switch {
	case len(s) > maxInterface:
		return "", errors.New("too long")
	case strings.ContainsAny(s, "/:\x00") || strings.ContainsFunc(s, unicode.IsSpace), s == ".", s == "..":
		return "", errMalformed
	}
	return s, nil
}

func parseMAC(s string) (virtio.MAC, error) {
	if s == "" {
		return virtio.MAC{}, nil
	}
	m, err := virtio.ParseMAC(s)
	if err != nil {
		return m, errMalformed
	}
	if m.IsMulticast() || m == (virtio.MAC{}) {
		return m, errors.New("not the address of a single station")
	}
	return m, nil
}

func formatMAC(m virtio.MAC) string {
	if m == (virtio.MAC{}) {
		return ""
	}
	return m.String()
}

// listSeparator stands between the elements of a list on the command line,
// where the comma separates settings.
const listSeparator = ":"

func parseFeatures(s string) (virtio.Features, error) {
	var all virtio.Features
	if s == "" {
		return 0, nil
	}
	for name := range strings.SplitSeq(s, listSeparator) {
		f, err := virtio.ParseFeature(name)
		if err != nil {
			return 0, fmt.Errorf("naming an unknown feature %q", name)
		}
		all |= f
	}
	return all, nil
}

func formatFeatures(f virtio.Features) string { return strings.Join(f.Names(), listSeparator) }
