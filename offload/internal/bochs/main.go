// Command bochs runs the tests of packages on a processor with AVX-512 that
// the machine at hand may lack: it boots a Linux kernel with the test binaries
// in the Bochs emulator and passes on what they print.
//
//	go run ./offload/internal/bochs -kernel vmlinuz ./offload/checksum ./offload/toeplitz
//
// It needs the Debian packages bochs, bochsbios, vgabios, isolinux,
// syslinux-common and xorriso, and the kernel image of a package such as
// linux-image-cloud-amd64. It takes two to four minutes. Times measured in an emulator
// mean nothing; results do.
//
// The same program is the first process in the emulated machine.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Lines that the first process prints and the host looks for.
const (
	markPassed = "bochs: passed "
	markFailed = "bochs: failed "
	markEnd    = "bochs: end"
)

func main() {
	if os.Getpid() == 1 {
		firstProcess()
		return
	}
	kernel := flag.String("kernel", "", "Linux kernel image (bzImage)")
	// The newest model of Bochs 2.7 whose CPUID a current kernel accepts.
	model := flag.String("cpu", "corei3_cnl", "CPU model of Bochs")
	limit := flag.Duration("timeout", 10*time.Minute, "give up after this time")
	flag.Parse()
	if *kernel == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: bochs -kernel IMAGE [-cpu MODEL] [-timeout TIME] PACKAGE...")
		os.Exit(2)
	}
	if err := run(*kernel, *model, *limit, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bochs:", err)
		os.Exit(1)
	}
}

func run(kernel, model string, limit time.Duration, packages []string) error {
	dir, err := os.MkdirTemp("", "bochs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	n, err := image(ctx, dir, kernel, packages)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "bochsrc")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(bochsrc, model)), 0o600); err != nil {
		return err
	}
	// Debian's Bochs starts in its debugger.
	commands := filepath.Join(dir, "commands")
	if err := os.WriteFile(commands, []byte("c\n"), 0o600); err != nil {
		return err
	}
	serial := filepath.Join(dir, "serial")
	if err := os.WriteFile(serial, nil, 0o600); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "bochs", "-q", "-f", config, "-rc", commands)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		stop()
		return err
	}
	err = watch(ctx, serial, n)
	stop()
	// It was told to end; how it does is of no interest.
	_ = cmd.Wait()
	return err
}

// bochsrc takes the CPU model. The rfb display is one that needs no screen.
const bochsrc = `plugin_ctrl: unmapped=1, biosdev=1, serial=1
display_library: rfb, options="timeout=0"
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model=%s, count=1, ips=100000000
ata0-master: type=cdrom, path=image.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial
log: log
panic: action=fatal
error: action=ignore
info: action=ignore
clock: sync=none
`

// watch passes on what the machine prints until n tests have ended.
func watch(ctx context.Context, serial string, n int) error {
	f, err := os.Open(serial)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	line, passed, avx512 := "", 0, false
	for {
		part, err := r.ReadString('\n')
		line += part
		if err == io.EOF {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%d of %d test binaries passed, then: %w", passed, n, ctx.Err())
			case <-time.After(200 * time.Millisecond):
			}
			continue
		}
		if err != nil {
			return err
		}
		text := strings.TrimRight(line, "\r\n")
		line = ""
		if !strings.HasPrefix(text, "[") { // the kernel's own
			fmt.Println(text)
		}
		switch {
		case strings.Contains(text, "Kernel panic"):
			return fmt.Errorf("%s", text)
		case strings.HasPrefix(text, markPassed):
			passed++
		case strings.HasPrefix(text, markFailed):
			return fmt.Errorf("%s", strings.TrimPrefix(text, "bochs: "))
		case strings.HasPrefix(text, levelsPrefix):
			avx512 = strings.Contains(text, "avx512")
		case text == markEnd && passed != n:
			return fmt.Errorf("%d of %d test binaries passed", passed, n)
		case text == markEnd && !avx512:
			return fmt.Errorf("the emulated processor has no AVX-512, or the kernel does not enable it")
		case text == markEnd:
			return nil
		}
	}
}
