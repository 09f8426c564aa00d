//go:build race

package kvtest

// Race tells that the race detector is on. Pebble then checks itself so thoroughly that
// tests over all operations take a sample of them.
const Race = true
