package main

import "postroad/internal/config"

type configCommand struct {
	Check configCheck `cmd:"" help:"Read the configuration and say what is wrong with it."`
	Show  configShow  `cmd:"" help:"Print the configuration in force, defaults included; secrets are stars."`
	Doc   configDoc   `cmd:"" help:"Print the manual: a file with every key, its meaning and default."`
}

// Help is the text below the usage.
func (configCommand) Help() string {
	return `Examples:
  postroad --config ./postroad.toml config check
  postroad config show
  postroad config doc > /etc/postroad/postroad.toml`
}

type configCheck struct{}

// Help is the text below the usage.
func (configCheck) Help() string {
	return "Ends with 0 when all is well and with 78 (EX_CONFIG) otherwise.\n\nExample:\n  postroad -c new.toml config check"
}

func (configCheck) Run(p *program) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	return p.print(map[string]bool{"valid": c != nil}, func() { p.say("The configuration is valid.") })
}

type configShow struct{}

// Help is the text below the usage.
func (configShow) Help() string { return "Example:\n  postroad config show | grep listen -A10" }

func (configShow) Run(p *program) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	if p.cli.JSON {
		return p.print(c, nil)
	}
	return c.Show(p.out)
}

type configDoc struct{}

// Help is the text below the usage.
func (configDoc) Help() string { return "Example:\n  postroad config doc | less" }

func (configDoc) Run(p *program) error { return config.Doc(p.out) }
