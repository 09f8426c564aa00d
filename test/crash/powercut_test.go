//go:build crash

package crash

import (
	"os"
	"testing"
	"time"

	"postroad/test/peer"
)

// still copies the image while nobody writes to it: the kernel may still be writing what
// the stopped program had not synced, and a copy made meanwhile would have some blocks from
// before and some from after, which no disk ever had. So it copies until two looks agree.
func (i *image) still() string {
	copied := i.file + ".cut"
	for range 20 {
		peer.Run(i.t, "cp", "--sparse=always", i.file, copied)
		if _, err := peer.Try("cmp", "-s", i.file, copied); err == nil {
			return copied
		}
	}
	i.t.Fatal("the image does not come to rest")
	return ""
}

// roomEvery is after how many cycles the delivered mail is deleted, before the disk is full.
const roomEvery = 10

// TestPowerCut stops the program at a random moment and goes on from a copy of the disk as
// it was then: what was not synced is not in it.
func TestPowerCut(t *testing.T) {
	disk := newImage(t, "1200")
	r := start(t, disk.mount, "")
	// The configuration file, which nobody syncs, is not what is tested.
	peer.Run(t, "sync", "-f", disk.mount)
	for i := range cycles(1) {
		stop := r.load()
		time.Sleep(time.Duration(300+r.rng.IntN(2000)) * time.Millisecond)
		if err := r.pr.Freeze(); err != nil {
			t.Fatal(err)
		}
		copied := disk.still()
		// Nobody hears of the program any more. Killing it is not enough: its parent may die
		// first, and the kernel makes an orphan that was stopped go on (SIGCONT) until it is
		// killed too.
		stop()
		r.pr.Kill()
		disk.down()
		if err := os.Rename(copied, disk.file); err != nil {
			t.Fatal(err)
		}
		// What a failure is to be explained with: the disk before anybody read it.
		peer.Run(t, "cp", "--sparse=always", disk.file, disk.file+".before")
		disk.up()
		r.pr.Restart()
		r.verify()
		if t.Failed() {
			t.Fatalf("in cycle %d", i)
		}
		if i%roomEvery == roomEvery-1 {
			r.makeRoom()
		}
	}
	r.pr.Command("check")
}
