package queues

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vring"
)

// ctrlQueue is a port's control queue. Its own goroutine serves it, for a
// command may wait until the shards have let go of what it replaces.
type ctrlQueue struct {
	virtqueue
	nic *Port
	msg ctrl.Chain // guarded by mu
	// accepted counts the commands that were carried out. Guarded by mu.
	accepted uint64

	// kick is a duplicate of the kick eventfd, nil while not watched. Guarded
	// by Port.mu.
	kick *os.File
}

// startCtrl starts the control queue at ring i. The caller holds Port.mu.
//
// A front end stops and starts its rings in the same way when it pauses and
// when the guest resets the device. The difference is where the ring resumes:
// after a pause where it stopped, after a reset at 0.
func (p *Port) startCtrl(i int, c vring.Config) error {
	q, s := &p.ctrl, &p.slots[i]
	q.mu.Lock()
	stopped := q.base
	q.index, q.call, q.errfd, q.enabled = i, s.call, s.err, true
	err := q.start(p.memory.Load(), c)
	q.mu.Unlock()
	if err != nil {
		return fmt.Errorf("port %s control queue: %w", p.name, err)
	}
	if c.Base != stopped {
		p.forget()
	}
	return q.watch(s.kick)
}

// watch starts the goroutine that serves the queue when it is kicked. The
// caller holds Port.mu.
func (q *ctrlQueue) watch(kick *eventfd.FD) error {
	if kick == nil {
		return fmt.Errorf("port %s control queue: without a kick descriptor; want one, it is not polled", q.port.name)
	}
	fd, err := unix.FcntlInt(uintptr(kick.Int()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("port %s control queue: duplicate kick descriptor: %w", q.port.name, err)
	}
	// Non-blocking descriptors are waited for by the runtime's own poller, so
	// the goroutine costs no thread.
	q.kick = os.NewFile(uintptr(fd), "kick")
	go q.serve(q.kick)
	return nil
}

// unwatch ends the goroutine. The caller holds Port.mu, which proves that no
// command is under way.
func (q *ctrlQueue) unwatch() {
	if q.kick != nil {
		q.kick.Close()
		q.kick = nil
	}
}

// serve handles commands, now and whenever kick is signalled, until kick is
// closed.
func (q *ctrlQueue) serve(kick *os.File) {
	debug.SetPanicOnFault(true)
	var count [8]byte
	for {
		for q.nic.control(kick) {
		}
		if _, err := kick.Read(count[:]); err != nil {
			return
		}
	}
}

// maxCommands bounds the commands that are handled at a time, so that a driver
// that never ceases to send some does not keep others from the port's lock.
const maxCommands = 64

// control handles commands that wait, in order, and reports whether there may
// be more. Effects are complete when a command's buffer is returned
// (VNET-183).
func (p *Port) control(kick *os.File) (more bool) {
	defer p.lockForCommands()()
	q := &p.ctrl
	if q.kick != kick {
		return false // stopped meanwhile
	}
	defer func() {
		if r := recover(); r != nil {
			p.engine.fault(&q.virtqueue, r)
		}
	}()
	for range maxCommands {
		ok, err := q.next()
		if !ok {
			return false
		}
		var result []byte
		if err == nil {
			result, err = p.command(q.msg.Class, q.msg.Cmd, q.msg.Data)
		}
		if err != nil {
			p.engine.log.Debugf("port %s control queue: refused: %v", p.name, err)
		}
		q.reply(err == nil, result)
	}
	return true
}

// next takes the next command off the ring into msg. It reports false when
// there is none, having asked for a kick; an error is the driver's fault and
// wants an answer.
func (q *ctrlQueue) next() (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running() {
		q.batch.Reset()
		q.pos = 0
		n, err := q.ring.Take(&q.batch, 1)
		switch {
		case err != nil:
			q.fail(err)
		case n == 1:
			c := q.batch.Chains[0]
			err := q.msg.Read(q.batch.Readable(c), q.batch.Writable(c))
			if errors.Is(err, ctrl.ErrFraming) {
				q.fail(err)
				break
			}
			return true, err
		case !q.ring.Arm():
			return false, nil
		}
	}
	return false, nil
}

// reply answers the command that next took.
func (q *ctrlQueue) reply(ok bool, result []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running() {
		return
	}
	q.used = append(q.used, q.batch.Chains[0].Used(q.msg.Reply(ok, result)))
	q.pos = 1
	q.count.packets++
	if ok {
		q.accepted++
	}
	q.publish()
}

var errQueueOff = errors.New("the virtqueue is not enabled")

// command decodes and carries out a command. An error means that nothing has
// changed. The caller holds mu.
func (p *Port) command(class, cmd uint8, data []byte) ([]byte, error) {
	limits := ctrl.Limits{
		Features: p.features, QueuePairs: uint16(p.cfg.QueuePairs),
		KeySize: p.net.RSSMaxKeySize, TableLen: p.net.RSSMaxTableLen,
		HashTypes: p.net.HashTypes, TunnelTypes: p.net.TunnelTypes,
		StatTypes: statTypes,
	}
	c, err := limits.Decode(class, cmd, data)
	if err != nil {
		return nil, err
	}
	g := &p.guest
	switch c := c.(type) {
	case ctrl.RX:
		g.filter = g.filter.WithMode(c.Mode, c.On)
	case ctrl.MACTable:
		g.filter = g.filter.WithTables(c.Unicast, c.Multicast)
	case ctrl.MACAddr:
		p.net.MAC = c.MAC
		g.filter = g.filter.WithMAC(c.MAC)
	case ctrl.VLAN:
		g.filter = g.filter.WithVLAN(c.ID, c.Add)
	case ctrl.AnnounceAck:
		if p.net.Status&virtio.StatusAnnounce == 0 {
			return nil, errors.New("announcement acknowledged that was not asked for") // VNET-131
		}
		p.net.Status &^= virtio.StatusAnnounce
		return nil, nil
	case ctrl.Pairs:
		p.driverPairs(c)
	case ctrl.RSS:
		p.driverRSS(&c)
	case ctrl.HashConfig:
		h := driverHash(c.HashTypes, c.Key)
		p.now.RSS, p.now.Hash = nil, &h
	case ctrl.HashTunnel:
		g.innerHash = c.Types&ctrl.TunnelNVGRE != 0
	case ctrl.StatsQuery:
		return ctrl.AppendStatTypes(nil, limits.Stats()), nil
	case ctrl.StatsGet:
		return p.statistics(c), nil
	case ctrl.Coal:
		p.coalesce(c)
		return nil, nil
	case ctrl.QueueCoal:
		q, err := p.dataQueue(c.VQ)
		if err != nil {
			return nil, err
		}
		q.setCoalescing(c.CoalParams)
		return nil, nil
	case ctrl.QueueCoalGet:
		q, err := p.dataQueue(c.VQ)
		if err != nil {
			return nil, err
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.coal.Append(nil), nil
	case ctrl.GuestOffloads:
		g.off = ctrl.AllGuestOffloads &^ c.On
	default:
		return nil, fmt.Errorf("%s is not offered", ctrl.Name(class, cmd))
	}
	p.compile()
	p.commanded()
	return nil, nil
}
