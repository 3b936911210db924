package config

import (
	"fmt"
	"strconv"
	"strings"
)

// CPUList is a list of processor numbers, in the order they were named.
type CPUList []int

// maxCPU is the highest processor number the kernel's affinity interface, as
// it is used here, can express.
const maxCPU = 1023

// parseCPUs reads numbers and ranges separated by commas, as in "2-5,8".
func parseCPUs(s string) (CPUList, error) {
	if s == "" {
		return nil, nil
	}
	var list CPUList
	seen := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		a, err := parseInt(low, 0, maxCPU)
		if err != nil {
			return nil, err
		}
		b, err := parseInt(high, 0, maxCPU)
		if err != nil {
			return nil, err
		}
		if b < a {
			return nil, fmt.Errorf("backwards in %q", part)
		}
		for n := a; n <= b; n++ {
			if seen[n] {
				return nil, fmt.Errorf("naming processor %d twice", n)
			}
			seen[n] = true
			list = append(list, n)
		}
	}
	return list, nil
}

// String returns the list in the form parseCPUs reads, ranges joined.
func (l CPUList) String() string {
	var parts []string
	for i := 0; i < len(l); {
		j := i
		for j+1 < len(l) && l[j+1] == l[j]+1 {
			j++
		}
		part := strconv.Itoa(l[i])
		if j > i {
			part += "-" + strconv.Itoa(l[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
