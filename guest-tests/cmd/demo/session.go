package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

const (
	// queuePairs of each port. The guests use one until they are told to use all.
	queuePairs = 2
	// seconds a measurement lasts.
	seconds = 4
	// streams that are spread over the queue pairs. The guest hashes them to
	// its transmit queues by a secret of its own; eight end up in one queue
	// once in 128 times.
	streams = 8
	// spreadAttempts bounds how often they are started anew because of that.
	spreadAttempts = 3
	// udpShare is how much of what a guest took in when it was flooded, or
	// when it lost too much, is tried next.
	udpShare = 0.6
	// udpLoss is the share of datagrams that may be lost at a rate that
	// is found good, udpAttempts how many rates are tried.
	udpLoss     = 0.002
	udpAttempts = 5
)

// session is what is shown with one pair of guests.
type session struct {
	*demo
	daemon   *rig.Daemon
	frontEnd rig.FrontEnd
	pair     *rig.Pair
	server   *harness.IperfServer
}

func (s *session) measure(ctx context.Context, a, b *harness.VM) error {
	s.begin("%s: setting addresses", s.frontEnd)
	var err error
	if s.pair, err = rig.Join(ctx, 0, a, "vm0", b, "vm1"); err != nil {
		return err
	}
	for _, vm := range []*harness.VM{a, b} {
		if err := rig.BigSocketBuffers(ctx, vm); err != nil {
			return err
		}
	}
	if err := s.ping(ctx); err != nil {
		return err
	}
	s.begin("%s: starting iperf3", s.frontEnd)
	if s.server, err = s.pair.B.StartIperf(ctx, 0); err != nil {
		return err
	}
	if err := s.tcp(ctx, "TCP vm0 -> vm1", false, harness.Iperf{}); err != nil {
		return err
	}
	if err := s.tcp(ctx, "TCP vm1 -> vm0", false, harness.Iperf{Reverse: true}); err != nil {
		return err
	}
	if err := s.udp(ctx); err != nil {
		return err
	}
	if err := s.tcp(ctx, "TCP over IPv6", true, harness.Iperf{}); err != nil {
		return err
	}
	if err := s.twoPairs(ctx); err != nil {
		return err
	}
	if err := errors.Join(a.Crashed(), b.Crashed(), s.daemon.Crashed()); err != nil {
		return err
	}
	if list := s.daemon.Complaints(); len(list) > 0 {
		return fmt.Errorf("the daemon complained:\n%s", strings.Join(list, "\n"))
	}
	return nil
}

// ping exchanges echo requests over IPv4 and IPv6.
func (s *session) ping(ctx context.Context) error {
	for _, to := range []struct{ what, addr string }{{"ping", s.pair.B.IP4}, {"ping over IPv6", s.pair.B.IP6}} {
		s.begin("%s: %s", s.frontEnd, to.what)
		// Waits until the link is up and addresses are resolved.
		if err := s.pair.A.MustPing(ctx, to.addr, harness.PingOptions{Count: 1}); err != nil {
			return err
		}
		var r harness.PingResult
		counted, _, _, err := s.daemon.Observe(ctx, func() (err error) {
			r, err = s.pair.A.Ping(ctx, to.addr, harness.PingOptions{Count: 5})
			return err
		})
		if err != nil {
			return err
		}
		if r.Received != r.Sent {
			return fmt.Errorf("%d of %d requests answered", r.Received, r.Sent)
		}
		s.add(row{
			what: to.what, rate: fmt.Sprintf("%.2f ms", float64(r.Average)/float64(time.Millisecond)),
			lost: "0", drops: lostFrames(counted), queues: queuesUsed(counted, "vm0", "vm1"),
		})
	}
	return nil
}

// tcp measures TCP and shows it under that name.
func (s *session) tcp(ctx context.Context, what string, v6 bool, i harness.Iperf) error {
	_, err := s.tcpRow(ctx, what, v6, i)
	return err
}

func (s *session) tcpRow(ctx context.Context, what string, v6 bool, i harness.Iperf) (queues, error) {
	s.begin("%s: %s", s.frontEnd, what)
	i.Seconds = seconds
	m, err := s.daemon.Iperf(ctx, s.pair, s.server, v6, i)
	if err != nil {
		return queues{}, err
	}
	from, to := "vm0", "vm1"
	if i.Reverse {
		from, to = to, from
	}
	if m.Received.Bytes == 0 {
		return queues{}, errors.New("no data arrived")
	}
	used := queuesUsed(m.Daemon, from, to)
	s.add(row{
		what: what, gbits: m.Received.BitsPerSecond / 1e9, kind: kindTCP,
		lost: fmt.Sprint(m.Sent.Retransmits), drops: lostFrames(m.Daemon), queues: used,
	})
	return used, nil
}

// udp measures at a rate that the receiving guest can take in.
func (s *session) udp(ctx context.Context) error {
	s.begin("%s: looking for a UDP rate that the guest can take in", s.frontEnd)
	rate, err := s.findRate(ctx)
	if err != nil {
		return err
	}
	what := "UDP vm0 -> vm1"
	s.begin("%s: %s", s.frontEnd, what)
	m, err := s.sendUDP(ctx, rate, seconds)
	if err != nil {
		return err
	}
	s.add(row{
		what: what, gbits: m.Received.BitsPerSecond / 1e9, kind: kindUDP,
		lost:  fmt.Sprintf("%d of %d", m.Received.LostPackets, m.Received.Packets),
		drops: lostFrames(m.Daemon), queues: queuesUsed(m.Daemon, "vm0", "vm1"),
	})
	return nil
}

// findRate floods the guest and goes down from what came through until next
// to nothing is lost. What is lost on the way is the purpose of it and counted
// nowhere.
func (s *session) findRate(ctx context.Context) (rate float64, err error) {
	m, err := s.sendUDP(ctx, 0, 1)
	for range udpAttempts {
		if err != nil {
			return 0, err
		}
		rate = m.Received.BitsPerSecond * udpShare
		if m, err = s.sendUDP(ctx, rate, 1); err == nil &&
			float64(m.Received.LostPackets) <= udpLoss*float64(m.Received.Packets) {
			break
		}
	}
	return rate, err
}

// sendUDP sends datagrams at a rate in bit/s, 0 for as fast as it goes.
func (s *session) sendUDP(ctx context.Context, rate float64, seconds int) (*rig.Measurement, error) {
	m, err := s.daemon.Iperf(ctx, s.pair, s.server, false, harness.Iperf{
		UDP: true, Rate: fmt.Sprintf("%.0f", rate), Seconds: seconds, Args: []string{"--window", "2M"},
	})
	if err == nil && m.Received.Packets <= m.Received.LostPackets {
		err = errors.New("no datagram arrived")
	}
	return m, err
}

// twoPairs has both guests use all their queue pairs.
func (s *session) twoPairs(ctx context.Context) error {
	s.begin("%s: ethtool -L combined %d", s.frontEnd, queuePairs)
	for _, p := range []*rig.Peer{&s.pair.A, &s.pair.B} {
		if err := p.SetQueuePairs(ctx, queuePairs); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("TCP, %d queue pairs, %d streams", queuePairs, streams)
	for range spreadAttempts {
		used, err := s.tcpRow(ctx, what, false, harness.Iperf{Streams: streams})
		if err != nil {
			return err
		}
		if used.tx == queuePairs && used.rx == queuePairs {
			return nil
		}
	}
	return fmt.Errorf("not all queues carried traffic in %d attempts", spreadAttempts)
}

// add shows a result and keeps it for the table.
func (s *session) add(r row) {
	r.frontEnd = s.frontEnd.String()
	s.rows = append(s.rows, r)
	s.say("  %s, %s %s, %s drops", r.result(), r.lost, r.lostWhat(), fmt.Sprint(r.drops))
}

// withConsoles adds to an error what the guests and the daemon said last, if it
// is not in it already.
func withConsoles(err error, daemon *rig.Daemon, vms []*harness.VM) error {
	for _, vm := range vms {
		if end := vm.ConsoleEnd(); !strings.Contains(err.Error(), end) {
			err = fmt.Errorf("%w\nend of the console of %s:\n%s", err, vm.Guest.Name, end)
		}
	}
	return fmt.Errorf("%w\nend of the daemon's log:\n%s", err, daemon.Log())
}
