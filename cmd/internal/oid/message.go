package oid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// Version is the version of the protocol. A server that does not know a
// client's version refuses it.
const Version = 1

// DefaultPort is the AF_VSOCK port that the server listens at.
const DefaultPort = 1028

// Bounds of messages, in bytes.
const (
	// MaxMessage is the size of the largest message, header included.
	MaxMessage = 1 << 20
	headerSize = 8
	// MaxInput is the longest information buffer of a request, MaxOutput that
	// of a response.
	MaxInput  = MaxMessage - headerSize - requestSize
	MaxOutput = MaxMessage - headerSize - responseSize - maxDetail

	maxName   = 255
	maxDetail = 4096

	helloSize      = 12
	requestSize    = 20
	responseSize   = 28
	indicationSize = 8
)

// magic begins every hello: "NOID" in the order of bytes.
const magic = 0x44494f4e

// kind says what a message is.
type kind uint8

const (
	kindHello      kind = 1
	kindRequest    kind = 2
	kindResponse   kind = 3
	kindIndication kind = 4
	kindRefusal    kind = 5
)

var kindNames = [...]string{kindHello: "hello", kindRequest: "request", kindResponse: "response", kindIndication: "indication", kindRefusal: "refusal"}

func (k kind) String() string {
	if k >= kindHello && k <= kindRefusal {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// hello is the first message in either direction. A client names the port it
// wants, or none where there is no choice; a server the port it has.
type hello struct {
	version uint16
	watch   bool // the client wants indications
	max     uint32
	port    string
}

// refusal is what a server says before it closes a connection.
type refusal struct{ text string }

// request and response are matched by their id.
type request struct {
	id uint32
	adapter.Request
}

type response struct {
	id uint32
	adapter.Response
}

// Indication is a status indication.
type Indication struct {
	Status ndis.Status
	// Dropped counts the indications that were lost before this one, because
	// the client took them too slowly.
	Dropped uint32
	Body    []byte // the structure that belongs to Status
}

var (
	le = binary.LittleEndian

	errMessage = errors.New("malformed message")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMessage, fmt.Sprintf(format, args...))
}

// begin returns a message's header with room for its fixed fields.
func begin(k kind, fixed int) []byte {
	b := make([]byte, headerSize+fixed)
	b[4] = byte(k)
	return b
}

// end fills in the length of a message.
func end(b []byte) []byte {
	le.PutUint32(b, uint32(len(b)))
	return b
}

func (h *hello) encode() []byte {
	b := begin(kindHello, helloSize)
	f := b[headerSize:]
	le.PutUint32(f, magic)
	le.PutUint16(f[4:], h.version)
	if h.watch {
		le.PutUint16(f[6:], 1)
	}
	le.PutUint32(f[8:], h.max)
	return end(append(b, h.port...))
}

func decodeHello(b []byte) (h hello, err error) {
	if len(b) < helloSize {
		return h, malformed("hello of %d bytes, want %d or more", len(b), helloSize)
	}
	if m := le.Uint32(b); m != magic {
		return h, malformed("hello begins with 0x%08x, want 0x%08x", m, uint32(magic))
	}
	if len(b) > helloSize+maxName {
		return h, malformed("port name of %d bytes, want at most %d", len(b)-helloSize, maxName)
	}
	return hello{le.Uint16(b[4:]), le.Uint16(b[6:])&1 != 0, le.Uint32(b[8:]), string(b[helloSize:])}, nil
}

func (r *refusal) encode() []byte {
	return end(append(begin(kindRefusal, 0), r.text[:min(len(r.text), maxDetail)]...))
}

func (r *request) encode() []byte {
	b := begin(kindRequest, requestSize)
	f := b[headerSize:]
	le.PutUint32(f, r.id)
	f[4] = byte(r.Type)
	le.PutUint32(f[8:], uint32(r.OID))
	le.PutUint32(f[12:], r.Binding)
	le.PutUint32(f[16:], uint32(r.OutputLength))
	return end(append(b, r.Input...))
}

// decodeRequest borrows b.
func decodeRequest(b []byte) (r request, err error) {
	if len(b) < requestSize {
		return r, malformed("request of %d bytes, want %d or more", len(b), requestSize)
	}
	r.id = le.Uint32(b)
	r.Type = adapter.RequestType(b[4])
	r.OID = ndis.OID(le.Uint32(b[8:]))
	r.Binding = le.Uint32(b[12:])
	r.OutputLength = int(min(le.Uint32(b[16:]), MaxOutput))
	r.Input = b[requestSize:]
	return r, nil
}

func (r *response) encode() []byte {
	b := begin(kindResponse, responseSize)
	f := b[headerSize:]
	detail := r.Detail[:min(len(r.Detail), maxDetail)]
	le.PutUint32(f, r.id)
	le.PutUint32(f[4:], uint32(r.Status))
	le.PutUint32(f[8:], uint32(r.BytesNeeded))
	le.PutUint32(f[12:], uint32(r.BytesRead))
	le.PutUint32(f[16:], uint32(len(r.Output)))
	f[20] = r.SupportedRevision
	le.PutUint32(f[24:], uint32(len(detail)))
	return end(append(append(b, r.Output...), detail...))
}

// decodeResponse borrows b.
func decodeResponse(b []byte) (r response, err error) {
	if len(b) < responseSize {
		return r, malformed("response of %d bytes, want %d or more", len(b), responseSize)
	}
	written, detail := le.Uint32(b[16:]), le.Uint32(b[24:])
	if uint64(len(b)) != responseSize+uint64(written)+uint64(detail) {
		return r, malformed("response of %d bytes with %d of output and %d of detail", len(b), written, detail)
	}
	r.id = le.Uint32(b)
	r.Status = ndis.Status(le.Uint32(b[4:]))
	r.BytesNeeded, r.BytesRead = int(le.Uint32(b[8:])), int(le.Uint32(b[12:]))
	r.SupportedRevision = b[20]
	if written > 0 {
		r.Output = b[responseSize : responseSize+written]
	}
	r.Detail = string(b[responseSize+written:])
	return r, nil
}

func (i *Indication) encode() []byte {
	b := begin(kindIndication, indicationSize)
	le.PutUint32(b[headerSize:], uint32(i.Status))
	le.PutUint32(b[headerSize+4:], i.Dropped)
	return end(append(b, i.Body...))
}

// decodeIndication borrows b.
func decodeIndication(b []byte) (i Indication, err error) {
	if len(b) < indicationSize {
		return i, malformed("indication of %d bytes, want %d or more", len(b), indicationSize)
	}
	return Indication{ndis.Status(le.Uint32(b)), le.Uint32(b[4:]), b[indicationSize:]}, nil
}

// receive reads a message and returns its kind and what follows its header.
// started is called when its first bytes are there.
func receive(r io.Reader, started func()) (kind, []byte, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:1]); err != nil {
		return 0, nil, err // io.EOF between messages is an ordinary end
	}
	started()
	if _, err := io.ReadFull(r, h[1:]); err != nil {
		return 0, nil, cut(err)
	}
	size := le.Uint32(h[:])
	if size < headerSize || size > MaxMessage {
		return 0, nil, malformed("%d bytes, want %d to %d", size, headerSize, MaxMessage)
	}
	if h[5] != 0 || h[6] != 0 || h[7] != 0 {
		return 0, nil, malformed("reserved bytes of the header are % x, want zeros", h[5:])
	}
	b, err := readN(r, int(size)-headerSize)
	if err != nil {
		return 0, nil, cut(err)
	}
	return kind(h[4]), b, nil
}

// readN reads n bytes. Memory is taken as the bytes come, so that a length
// alone costs nothing.
func readN(r io.Reader, n int) ([]byte, error) {
	const step = 16 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-at, step))...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// cut is the error of a stream that ends within a message.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// printable returns s if it can be shown, else a quoted form.
func printable(s string) string {
	if !utf8.ValidString(s) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
