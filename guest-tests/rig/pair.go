package rig

import (
	"context"
	"fmt"
	"strings"

	"vhost-user-nvgre/guest-tests/harness"
)

// Peer is a guest's interface that has addresses.
type Peer struct {
	*harness.VM
	ID       string // of the NIC
	Iface    string // the guest's name of it
	IP4, IP6 string
}

// Pair is two guests that can reach each other.
type Pair struct{ A, B Peer }

// Join gives a NIC of each of two guests addresses in subnet n, 0 to 255, and
// brings both up: 10.0.n.1 and fd00:n::1 for a, the same with 2 for b.
func Join(ctx context.Context, n int, a *harness.VM, nicA string, b *harness.VM, nicB string) (*Pair, error) {
	peerA, err := Attach(ctx, n, 1, a, nicA)
	if err != nil {
		return nil, err
	}
	peerB, err := Attach(ctx, n, 2, b, nicB)
	if err != nil {
		return nil, err
	}
	return &Pair{A: *peerA, B: *peerB}, nil
}

// Attach gives a NIC of a guest the addresses number host, 1 to 254, in subnet
// n, 0 to 255, and brings it up: 10.0.n.host and fd00:n::host. A NIC may have
// addresses in several subnets.
func Attach(ctx context.Context, n, host int, vm *harness.VM, nic string) (*Peer, error) {
	p := &Peer{VM: vm, ID: nic, IP4: fmt.Sprintf("10.0.%d.%d", n, host), IP6: fmt.Sprintf("fd00:%x::%x", n, host)}
	return p, p.Readdress(ctx)
}

// Readdress sets the peer's addresses on an interface that has none, such as
// one that has just come back, and brings it up.
func (p *Peer) Readdress(ctx context.Context) (err error) {
	p.Iface, err = p.Address(ctx, p.ID, p.IP4+"/24", p.IP6+"/64")
	return err
}

// MustPing pings b from a by IPv4 and IPv6 and fails unless every request is
// answered; see harness.VM.MustPing.
func (p *Pair) MustPing(ctx context.Context) error {
	for _, to := range []string{p.B.IP4, p.B.IP6} {
		if err := p.A.MustPing(ctx, to, harness.PingOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// Ethtool runs ethtool with an option and the peer's interface, and further
// arguments.
func (p *Peer) Ethtool(ctx context.Context, option string, args ...string) (string, error) {
	return p.Output(ctx, append([]string{"ethtool", option, p.Iface}, args...)...)
}

// SetQueuePairs makes the guest use n queue pairs of the NIC.
func (p *Peer) SetQueuePairs(ctx context.Context, n int) error {
	_, err := p.Ethtool(ctx, "-L", "combined", fmt.Sprint(n))
	return err
}

// Up and Down change the state of the interface.
func (p *Peer) Up(ctx context.Context) error   { return p.set(ctx, "up") }
func (p *Peer) Down(ctx context.Context) error { return p.set(ctx, "down") }

func (p *Peer) set(ctx context.Context, state string) error {
	_, err := p.Output(ctx, strings.Fields("ip link set "+p.Iface+" "+state)...)
	return err
}
