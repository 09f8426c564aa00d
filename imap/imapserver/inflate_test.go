package imapserver

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// TestInflate reads what compress/flate has written, in all its kinds of blocks and in
// pieces of every size.
func TestInflate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	letters := make([]byte, 200_000)
	for i := range letters {
		letters[i] = "etaoin shrdlu"[random.IntN(13)]
	}
	texts := map[string][]byte{
		"nothing": nil, "one": {'x'}, "noise": noise, "letters": letters,
		"zeros":    make([]byte, 300_000),
		"commands": []byte(strings.Repeat("a1 UID FETCH 1:* (UID FLAGS)\r\n", 4000)),
		"far":      append(append(append([]byte("far away"), letters[:32<<10-8]...), "far away"...), letters...),
	}
	for name, text := range texts {
		for level := -2; level <= 9; level++ {
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, level)
			if err != nil {
				t.Fatal(err)
			}
			for rest := text; len(rest) > 0; {
				n := min(1+random.IntN(50_000), len(rest))
				_, _ = w.Write(rest[:n])
				rest = rest[n:]
				if random.IntN(2) == 0 {
					_ = w.Flush()
				}
			}
			_ = w.Close()
			got, err := io.ReadAll(newInflater(bytes.NewReader(b.Bytes())))
			if err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%s at level %d: %d octets of %d, %v", name, level, len(got), len(text), err)
			}
			if b.Len() < 5000 {
				got, err = io.ReadAll(newInflater(iotest.OneByteReader(&b)))
				if err != nil || !bytes.Equal(got, text) {
					t.Fatalf("%s at level %d, octet by octet: %d of %d, %v", name, level, len(got), len(text), err)
				}
			}
		}
	}
}

// TestInflatePartialFlush reads three commands that zlib has compressed and ended each
// with Z_PARTIAL_FLUSH; each must come out before the next goes in. testdata/partial.deflate
// has the three pieces, each behind an octet with its length.
func TestInflatePartialFlush(t *testing.T) {
	b, err := os.ReadFile("testdata/partial.deflate")
	if err != nil {
		t.Fatal(err)
	}
	in := &pieces{}
	f := newInflater(in)
	for _, want := range []string{"a1 NOOP\r\n", "a2 UID FETCH 1:* (UID FLAGS)\r\n", "a3 UID FETCH 1:* (UID FLAGS)\r\n"} {
		n := int(b[0])
		in.b = b[1 : 1+n]
		b = b[1+n:]
		got := make([]byte, 100)
		k := 0
		for {
			m, err := f.Read(got[k:])
			k += m
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				break
			}
		}
		if string(got[:k]) != want {
			t.Fatalf("%q came out, want %q", got[:k], want)
		}
	}
}

// pieces has one piece at a time and times out behind it.
type pieces struct{ b []byte }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

func TestInflateCorrupt(t *testing.T) {
	for name, bits := range map[string][]byte{
		"block of no kind": {0x07},
		"stored length":    {0x01, 1, 0, 0, 0},
		"no lengths":       {0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"all ones":         bytes.Repeat([]byte{0xff}, 50),
	} {
		if _, err := io.ReadAll(newInflater(bytes.NewReader(bits))); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzInflate agrees with compress/flate on whatever that can read.
func FuzzInflate(f *testing.F) {
	for _, s := range []string{"", "a", strings.Repeat("ab", 1000)} {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, 9)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 1 << 20
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), most))
		got, err := io.ReadAll(io.LimitReader(newInflater(bytes.NewReader(b)), most))
		if wantErr == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Fatalf("%d octets, %v; want %d", len(got), err, len(want))
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, 6)
	text := crlf(strings.Repeat(messageMixed, 100))
	_, _ = w.Write(text)
	_ = w.Close()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, newInflater(bytes.NewReader(z.Bytes()))); err != nil {
			b.Fatal(err)
		}
	}
}
