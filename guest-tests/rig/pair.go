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
	p := &Pair{A: Peer{VM: a, ID: nicA}, B: Peer{VM: b, ID: nicB}}
	for i, peer := range []*Peer{&p.A, &p.B} {
		peer.IP4, peer.IP6 = fmt.Sprintf("10.0.%d.%d", n, i+1), fmt.Sprintf("fd00:%x::%d", n, i+1)
		if err := peer.readdress(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readdress sets the peer's addresses on an interface that has none.
func (p *Peer) readdress(ctx context.Context) (err error) {
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
