package wsprobe

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// serverFrame makes a frame as a server sends it: not masked.
func serverFrame(first byte, payload string) string {
	b := appendFrame(nil, first&0x0f, [4]byte{}, []byte(payload))
	b[0] = first
	b[1] &^= 0x80
	at := len(b) - len(payload) - 4
	return string(append(b[:at], b[at+4:]...))
}

func reading(in string, limit uint64) (*frameReader, *[]string) {
	var problems []string
	return &frameReader{
		br: bufio.NewReader(strings.NewReader(in)), limit: limit,
		tap: func(_ *header, _ []byte, problem string) { problems = append(problems, problem) },
	}, &problems
}

// collect reads all messages of in, as "opcode payload", and how it ended.
func collect(r *frameReader) (got []string, err error) {
	for {
		m, ok, err := r.nextFrame()
		if err != nil {
			return got, err
		}
		if ok {
			got = append(got, string('0'+rune(m.op))+" "+string(m.payload))
		}
	}
}

func TestFrameReader(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, c := range []struct {
		name, in string
		want     []string
		end      string
	}{
		{"text", serverFrame(0x81, "hello"), []string{"1 hello"}, "EOF"},
		{"empty", serverFrame(0x82, ""), []string{"2 "}, "EOF"},
		{"16-bit length", serverFrame(0x82, long[:300]), []string{"2 " + long[:300]}, "EOF"},
		{"64-bit length", serverFrame(0x82, long), []string{"2 " + long}, "EOF"},
		{
			"fragments with control frames between",
			serverFrame(0x01, "a") + serverFrame(0x89, "p") + serverFrame(0x00, "b") + serverFrame(0x8a, "q") + serverFrame(0x80, "c") + serverFrame(0x81, "d"),
			[]string{"9 p", ": q", "1 abc", "1 d"},
			"EOF",
		},
		{"rune over two fragments", serverFrame(0x01, "\xc3") + serverFrame(0x80, "\xa9"), []string{"1 é"}, "EOF"},
		{"close", serverFrame(0x88, "\x03\xe8bye"), []string{"8 \x03\xe8bye"}, "EOF"},
		{"close without code", serverFrame(0x88, ""), []string{"8 "}, "EOF"},

		{"reserved bit", serverFrame(0xc1, "hello"), nil, "reserved bits 100 set and no extension was negotiated (§5.2); frame header c105"},
		{"reserved opcode", serverFrame(0x83, "x"), nil, "reserved opcode 0x3 (§5.2); frame header 8301"},
		{"reserved control opcode", serverFrame(0x8b, ""), nil, "reserved opcode 0xb (§5.2); frame header 8b00"},
		{"masked", "\x81\x85abcd\x09\x07\x0f\x08\x0e", nil, "a server must not mask its frames (§5.1); frame header 818561626364"},
		{"fragmented ping", serverFrame(0x09, ""), nil, "fragmented control frame (§5.5); frame header 0900"},
		{"long ping", "\x89\x7e\x00\x7e" + long[:126], nil, "control frame of 126 bytes, want at most 125 (§5.5); frame header 897e007e"},
		{"lone continuation", serverFrame(0x80, "x"), nil, "continuation without a message to continue (§5.4); frame header 8001"},
		{"message inside message", serverFrame(0x01, "x") + serverFrame(0x81, "y"), nil, "new message before the last one ended (§5.4); frame header 8101"},
		{"length not shortest", "\x81\x7e\x00\x05hello", nil, "length 5 not in the shortest form (§5.2); frame header 817e0005"},
		{"64-bit length not shortest", "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello", nil, "length 5 not in the shortest form (§5.2); frame header 817f0000000000000005"},
		{"length with highest bit", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", nil, "length with the highest bit set (§5.2); frame header 827f8000000000000000"},
		{"length of 5 GiB", "\x82\x7f\x00\x00\x00\x01\x40\x00\x00\x00abc", nil, "announced length of 5368709120 bytes: these bytes are hardly a frame header; frame header 827f0000000140000000"},
		{"HTTP in the stream", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", nil, `HTTP text inside the WebSocket stream: "HTTP/1.1 502 Bad Gateway" (first bytes 4854)`},
		{"JSON in the stream", `{"type":"hello"}`, nil, "reserved bits 111 set and no extension was negotiated (§5.2); frame header 7b22"},
		{"not UTF-8", serverFrame(0x81, "\xc3\x28"), nil, "text message is not UTF-8 (§8.1); frame header 8102"},
		{"not UTF-8 over fragments", serverFrame(0x01, "\xc3") + serverFrame(0x80, "\x28"), nil, "text message is not UTF-8 (§8.1); frame header 8001"},
		{"half a close code", serverFrame(0x88, "\x03"), nil, "close frame with half a code (§5.5.1); frame header 8801"},
		{"close code 1006", serverFrame(0x88, "\x03\xee"), nil, "close code 1006 must not be sent (§7.4); frame header 8802"},
		{"close code 999", serverFrame(0x88, "\x03\xe7"), nil, "close code 999 must not be sent (§7.4); frame header 8802"},
		{"close code 2000", serverFrame(0x88, "\x07\xd0"), nil, "close code 2000 must not be sent (§7.4); frame header 8802"},
		{"close code 5000", serverFrame(0x88, "\x13\x88"), nil, "close code 5000 must not be sent (§7.4); frame header 8802"},
		{"close reason not UTF-8", serverFrame(0x88, "\x03\xe8\xff"), nil, "close reason is not UTF-8 (§5.5.1); frame header 8803"},
		{"too big", serverFrame(0x82, long+long), nil, "message of at least 140000 bytes, our limit max_message is 100000"},
		{"too big over fragments", serverFrame(0x02, long) + serverFrame(0x80, long), nil, "message of at least 140000 bytes, our limit max_message is 100000"},
		{"cut in the header", "\x81", nil, "inside a frame header: EOF"},
		{"cut in the payload", serverFrame(0x81, "hello")[:4], nil, "after 2 of 5 bytes of a frame: EOF"},
		{"cut in a close frame", serverFrame(0x88, "\x03\xe8bye")[:3], nil, "after 1 of 5 bytes of a frame: EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, problems := reading(c.in, 100_000)
			got, err := collect(r)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if err.Error() != c.end {
				t.Errorf("ended with %q, want %q", err, c.end)
			}
			if last := (*problems)[len(*problems)-1]; !errors.Is(err, io.EOF) && last != c.end {
				t.Errorf("the tap saw problem %q, want %q", last, c.end)
			}
		})
	}
}

// halting gives one byte at a time, and between them the time is up.
type halting struct {
	in   string
	halt bool
}

func (h *halting) Read(p []byte) (int, error) {
	if h.halt = !h.halt; h.halt {
		return 0, os.ErrDeadlineExceeded
	}
	if h.in == "" {
		return 0, io.EOF
	}
	n := copy(p, h.in[:1])
	h.in = h.in[n:]
	return n, nil
}

// TestFrameReaderGoesOn: where the time is up inside a frame, who reads may go on.
func TestFrameReaderGoesOn(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	in := serverFrame(0x01, "a") + serverFrame(0x89, "ping") + serverFrame(0x80, long[:300]) + serverFrame(0x82, long)
	r, problems := reading("", 100_000)
	r.br = bufio.NewReader(&halting{in: in})
	waits := 0
	r.again = func(err error) bool {
		waits++
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	var got []string
	for {
		more, err := collect(r)
		if got = append(got, more...); errors.Is(err, io.EOF) {
			break
		}
		if _, half := errors.AsType[*cutError](err); half || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%v; want to be told of the time between frames only", err)
		}
	}
	if d := cmp.Diff([]string{"9 ping", "1 a" + long[:300], "2 " + long}, got); d != "" {
		t.Error(d)
	}
	if strings.Join(*problems, "") != "" || waits != len(in)-4 || r.came != uint64(len(in)) {
		t.Errorf("problems %q, %d waits, %d bytes; want none, %d and %d", *problems, waits, r.came, len(in)-4, len(in))
	}
}

func TestNothingIsAllocatedForAnnouncedBytes(t *testing.T) {
	in := "\x82\x7f\x00\x00\x00\x00\x3f\xff\xff\xff" + "abc" // just under 1 GiB
	r, _ := reading(in, 1<<30)
	if _, err := collect(r); err == nil || cap(r.data) > 4*readChunk {
		t.Errorf("error %v with %d bytes allocated, want an error and at most %d", err, cap(r.data), 4*readChunk)
	}
}

func TestAppendFrame(t *testing.T) {
	// The masked "Hello" of RFC 6455 §5.7.
	got := hex.EncodeToString(appendFrame(nil, opText, [4]byte{0x37, 0xfa, 0x21, 0x3d}, []byte("Hello")))
	if want := "818537fa213d7f9f4d5158"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMask(t *testing.T) {
	for n := range 20 {
		got := bytes.Repeat([]byte{0xa5}, n)
		mask(got, [4]byte{1, 2, 3, 4})
		for i, b := range got {
			if want := 0xa5 ^ byte(i%4+1); b != want {
				t.Fatalf("byte %d of %d is %#x, want %#x", i, n, b, want)
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		serverFrame(0x81, "hello"), serverFrame(0x01, "a") + serverFrame(0x89, "p") + serverFrame(0x80, "b"),
		serverFrame(0x88, "\x03\xe8bye"), "HTTP/1.1 400 Bad Request\r\n\r\n", "\x82\x7f\x00\x00\x00\x01\x40\x00\x00\x00abc", "\x81\x7e\x01\x00",
	} {
		f.Add([]byte(s), uint16(1000))
	}
	f.Fuzz(func(t *testing.T, in []byte, limit uint16) {
		r, _ := reading(string(in), uint64(limit))
		got, err := collect(r)
		if err == nil {
			t.Fatal("the end of the input is an error, got none")
		}
		if cap(r.data) > 2*(int(limit)+readChunk) {
			t.Errorf("%d bytes allocated for a limit of %d", cap(r.data), limit)
		}
		// What was read as messages is read as the same messages when sent again.
		var again bytes.Buffer
		for _, m := range got {
			again.WriteString(serverFrame(0x80|(m[0]-'0'), m[2:]))
		}
		r, _ = reading(again.String(), 1<<20)
		back, err := collect(r)
		if !errors.Is(err, io.EOF) {
			t.Errorf("what was valid is not any more: %v", err)
		}
		if diff := cmp.Diff(got, back); diff != "" {
			t.Error(diff)
		}
	})
}
