package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
)

// Run opens everything, serves until a signal asks it to end, and takes
// everything down. load reads the settings again for SIGHUP. A nil error means
// that it was asked to end, or that nothing is left to serve.
func Run(s *config.Settings, load func() (config.Settings, error), log *logrus.Logger, signals <-chan os.Signal) error {
	d, err := Open(s, log)
	if err != nil {
		return err
	}
	defer d.Close()
	stopControl, err := d.startControl()
	if err != nil {
		return err
	}
	defer stopControl()
	defer d.oids.stop()
	if err := d.oids.start(); err != nil {
		return err
	}
	for _, p := range d.list() {
		d.serve(p)
	}
	log.Infof("ready: %s", d.describe())
	d.notify(daemon.SdNotifyReady)
	err = d.follow(signals, load)
	d.notify(daemon.SdNotifyStopping)
	if errors.Is(err, errNoPortLeft) {
		log.Infof("ending: %v", err)
		return nil
	}
	return err
}

// follow does what signals ask for until one asks to end.
func (d *Daemon) follow(signals <-chan os.Signal, load func() (config.Settings, error)) error {
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				d.log.Infof("ending: %v", sig)
				return nil
			}
			d.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
			if next, err := load(); err != nil {
				d.log.Errorf("reload: nothing is changed: %v", err)
			} else {
				d.reload(&next)
			}
			d.log.Infof("reload: done: %s", d.describe())
			d.notify(daemon.SdNotifyReady)
		case p := <-d.ended:
			if d.unreachable(p) {
				return errNoPortLeft
			}
		}
	}
}

// unreachable notes that no front end can reach p any more, and reports
// whether that is so of every port. Wires alone are no reason to stay: whoever
// started the daemon with an inherited connection does not end it.
func (d *Daemon) unreachable(gone *port) bool {
	gone.gone = true
	for _, p := range d.list() {
		if !p.gone && p.wire == nil {
			d.log.Infof("port %s: its inherited connection has ended; no front end can reach it", gone.cfg.Name)
			return false
		}
	}
	return true
}

// startControl serves the control socket, if there is to be one. The function
// it returns ends that.
func (d *Daemon) startControl() (stop func(), err error) {
	path, err := d.settings.ControlPath()
	if err != nil || path == "" {
		return func() {}, err
	}
	gid, err := groupID(d.settings.ControlGroup)
	if err != nil {
		return nil, fmt.Errorf("control-group: %w", err)
	}
	l, err := control.Listen(path, d.settings.ControlMode, gid)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := control.Serve(ctx, l, d, d.log); err != nil {
			d.log.Errorf("%v; nvgrectl does not work any more", err)
		}
	})
	d.log.Debugf("control socket %s", path)
	return func() {
		cancel()
		serving.Wait()
	}, nil
}

// notify tells the service manager, if there is one.
func (d *Daemon) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		d.log.Warnf("service manager: %v", err)
	}
}
