package jmap

import "net/http"

// ToyServer is the server of the tests, and the capability of its methods.
func ToyServer() (http.Handler, string) { return newToy().server(nil), testURI }

// Ask makes one request.
var Ask = ask
