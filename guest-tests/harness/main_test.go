package harness

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Each of these makes this test binary play another program.
const (
	ownerEnv  = "HARNESS_TEST_OWNER"  // starts a process and waits to be killed
	listenEnv = "HARNESS_TEST_LISTEN" // listens on the socket it names, after a while
	notifyEnv = "HARNESS_TEST_NOTIFY" // says by sd_notify that it is ready, after a while
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(ownerEnv) != "":
		if _, err := NewDir(); err != nil {
			panic(err)
		}
		p, err := StartProcess("grandchild", exec.Command("sleep", "1000"), nil)
		if err != nil {
			panic(err)
		}
		say(strconv.Itoa(p.Pid()) + "\n")
	case os.Getenv(listenEnv) != "":
		time.Sleep(50 * time.Millisecond)
		if _, err := net.Listen("unix", os.Getenv(listenEnv)); err != nil {
			panic(err)
		}
	case os.Getenv(notifyEnv) != "":
		conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			panic(err)
		}
		for _, text := range []string{"STATUS=starting", "MAINPID=1\nREADY=1\n"} {
			time.Sleep(20 * time.Millisecond)
			if _, err := conn.Write([]byte(text)); err != nil {
				panic(err)
			}
		}
	default:
		os.Exit(m.Run())
	}
	time.Sleep(time.Minute)
}

func say(text string) {
	if _, err := os.Stdout.WriteString(text); err != nil {
		panic(err)
	}
}
