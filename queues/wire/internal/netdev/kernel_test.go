package netdev

import "testing"

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		release string
		want    bool // at least 6.2
	}{
		{"6.2.0", true},
		{"6.2-rc1", true},
		{"6.18.44-x-v595", true},
		{"7.0.1", true},
		{"10.0", true},
		{"6.1.99", false},
		{"5.20.0", false},
		{"", false},
		{"six", false},
		{"6", false},
	} {
		if got := atLeast(tt.release, 6, 2); got != tt.want {
			t.Errorf("atLeast(%q, 6, 2) = %v, want %v", tt.release, got, tt.want)
		}
	}
}
