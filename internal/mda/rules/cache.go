package rules

import (
	"sync"

	"postroad/internal/scripts"
	"postroad/sieve"
)

// compiledMax bounds the compiled scripts that are kept. One takes about as much memory as
// its source, ten times.
const compiledMax = 2000

// cache keeps compiled scripts, also what is wrong with those that do not compile.
type cache struct {
	mu  sync.Mutex
	all map[scripts.Version]compiled // mu
}

type compiled struct {
	script *sieve.Script
	errors sieve.Errors
}

// compiled returns a script ready to run, or a sieve.Errors.
func (r *Runner) compiled(s *scripts.Source) (*sieve.Script, error) {
	c := &r.cache
	c.mu.Lock()
	known, ok := c.all[s.Version]
	c.mu.Unlock()
	if !ok {
		known.script, known.errors = sieve.Compile(s.Text, r.o.Compile)
		c.keep(s.Version, known)
	}
	if known.errors != nil {
		return nil, known.errors
	}
	return known.script, nil
}

// keep caches a script that is stored; when there are too many, some go: the order of a map
// is random enough.
func (c *cache) keep(v scripts.Version, k compiled) {
	if v == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[scripts.Version]compiled{}
	}
	for old := range c.all {
		if len(c.all) < compiledMax {
			break
		}
		delete(c.all, old)
	}
	c.all[v] = k
}
