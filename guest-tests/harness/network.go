package harness

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Address gives a NIC's interface addresses such as 10.0.0.1/24 or fd00::1/64
// and brings it up. It returns the interface's name. The addresses can be used
// at once: guests do not probe for duplicates.
func (vm *VM) Address(ctx context.Context, id string, addrs ...string) (iface string, err error) {
	n, err := vm.Interface(ctx, id)
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if _, err := netip.ParsePrefix(a); err != nil {
			return "", fmt.Errorf("harness: address of %s: %w: want one with its prefix length, such as 10.0.0.1/24", id, err)
		}
		if _, err := vm.Output(ctx, "ip", "address", "add", a, "dev", n.Name); err != nil {
			return "", err
		}
	}
	_, err = vm.Output(ctx, "ip", "link", "set", n.Name, "up")
	return n.Name, err
}

// PingResult counts echo requests and replies.
type PingResult struct {
	Sent, Received int
	// Average round trip of those answered.
	Average time.Duration
}

// PingOptions of VM.Ping; the zero value sends three small requests.
type PingOptions struct {
	// Count of requests; 0 means 3.
	Count int
	// Interval between them; 0 means 100 ms.
	Interval time.Duration
	// Size of the payload in bytes; 0 means 56.
	Size int
}

var (
	pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) packets received`)
	pingAverage = regexp.MustCompile(`min/avg/max = [\d.]+/([\d.]+)/`) // milliseconds
)

// Ping sends echo requests, IPv4 or IPv6, and counts the replies. Lost ones are
// no error.
func (vm *VM) Ping(ctx context.Context, to string, o PingOptions) (PingResult, error) {
	if o.Count == 0 {
		o.Count = 3
	}
	if o.Interval == 0 {
		o.Interval = 100 * time.Millisecond
	}
	if o.Size == 0 {
		o.Size = 56
	}
	args := []string{
		"ping", "-c", strconv.Itoa(o.Count), "-i", fmt.Sprintf("%.3f", o.Interval.Seconds()),
		"-s", strconv.Itoa(o.Size), "-W", "3",
	}
	r, err := vm.Run(ctx, append(args, to)...)
	if err != nil {
		return PingResult{}, err
	}
	m := pingSummary.FindStringSubmatch(r.Stdout)
	if m == nil {
		return PingResult{}, fmt.Errorf("harness: guest %s: %q: %w", vm.Guest.Name, args, r.Err())
	}
	var p PingResult
	p.Sent, _ = strconv.Atoi(m[1]) // The expression admits digits only.
	p.Received, _ = strconv.Atoi(m[2])
	if m := pingAverage.FindStringSubmatch(r.Stdout); m != nil {
		ms, _ := strconv.ParseFloat(m[1], 64)
		p.Average = time.Duration(ms * float64(time.Millisecond))
	}
	return p, nil
}

// MustPing fails unless every request is answered. It first waits for a first
// answer, half a minute at most: address resolution may cost some requests, and
// a link takes a moment to come up on both ends.
func (vm *VM) MustPing(ctx context.Context, to string, o PingOptions) error {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(o.Count)*o.Interval)
	defer cancel()
	for {
		r, err := vm.Ping(ctx, to, PingOptions{Count: 1})
		if err != nil {
			return err
		}
		if r.Received == 1 {
			break
		}
		if ctx.Err() != nil {
			return vm.explain(fmt.Errorf("ping %s: no answer: %w", to, ctx.Err()))
		}
	}
	r, err := vm.Ping(ctx, to, o)
	if err != nil {
		return err
	}
	if r.Received != r.Sent {
		return fmt.Errorf("harness: guest %s: ping %s: %d of %d answered", vm.Guest.Name, to, r.Received, r.Sent)
	}
	return nil
}

// DatagramPair returns two connected Unix datagram sockets that carry up to
// 64 KiB each way. As Datagram links they form a wire between two guests.
func DatagramPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("harness: socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "wire-a"), os.NewFile(uintptr(fds[1]), "wire-b"), nil
}
