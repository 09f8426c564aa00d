// Command postroad is a whole e-mail system in one program.
package main

import "fmt"

func main() { fmt.Println("postroad") }
