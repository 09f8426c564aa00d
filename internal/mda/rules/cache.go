package rules

import (
	"sync"

	"postroad/sieve"
)

// compiledMax bounds the compiled scripts that are kept. One takes about as much memory as
// its source, ten times.
const compiledMax = 2000

// cache keeps compiled scripts, also what is wrong with those that do not compile.
type cache struct {
	mu  sync.Mutex
	all map[string]compiled // mu: by Script.Key
}

type compiled struct {
	script *sieve.Script
	errors sieve.Errors
}

// compiled returns a script ready to run, or a sieve.Errors.
func (r *Runner) compiled(s *Script) (*sieve.Script, error) {
	c := &r.cache
	c.mu.Lock()
	known, ok := c.all[s.Key]
	c.mu.Unlock()
	if !ok {
		known.script, known.errors = sieve.Compile(s.Source, r.o.Compile)
		c.keep(s.Key, known)
	}
	if known.errors != nil {
		return nil, known.errors
	}
	return known.script, nil
}

// keep caches a script; when there are too many, some go: the order of a map is random
// enough.
func (c *cache) keep(key string, k compiled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]compiled{}
	}
	for old := range c.all {
		if len(c.all) < compiledMax {
			break
		}
		delete(c.all, old)
	}
	c.all[key] = k
}
