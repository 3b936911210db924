package stream

import (
	"fmt"
	"net"
	"time"
)

// A flood comes in bursts, with pauses that leave the sender's processor to
// others: some 5,000 datagrams a second.
const (
	floodBurst = 10
	floodPause = 2 * time.Millisecond
)

// floodSizes are the sizes of datagrams in turn. Each fits into a frame of
// 1,514 bytes.
var floodSizes = []int{1, 100, 1472}

// Flood sends n datagrams to an address, whether or not anybody takes them.
func Flood(to string, n int) error {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	defer conn.Close()
	data := make([]byte, maxOf(floodSizes))
	newSource(0, 0).fill(data)
	for i := range n {
		// Errors tell of earlier datagrams that nobody took.
		_, _ = conn.Write(data[:floodSizes[i%len(floodSizes)]])
		if (i+1)%floodBurst == 0 {
			time.Sleep(floodPause)
		}
	}
	return nil
}
