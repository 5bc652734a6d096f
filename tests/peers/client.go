// Go with kolo/xmlrpc. See README.md for the words.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/kolo/xmlrpc"
)

var shop *xmlrpc.Client

func call(method string, reply interface{}, params ...interface{}) {
	if err := shop.Call(method, params, reply); err != nil {
		fmt.Fprintln(os.Stderr, method, err)
		os.Exit(1)
	}
}

func nothing(method string, params ...interface{}) string {
	var reply interface{}
	call(method, &reply, params...)
	if reply == nil {
		return "nil"
	}
	return fmt.Sprint(reply)
}

func fault(method string, params ...interface{}) string {
	var reply interface{}
	err := shop.Call(method, params, &reply)
	// net/rpc, on which the library stands, leaves nothing of an error but its text
	var code int
	if _, wrong := fmt.Sscanf(fmt.Sprint(err), "Fault(%d)", &code); wrong == nil {
		return fmt.Sprint(code)
	}
	return fmt.Sprint(err)
}

func contains(names []string, name string) bool {
	for _, known := range names {
		if known == name {
			return true
		}
	}
	return false
}

func cycle(dir, ids string) {
	fmt.Println("clean=" + nothing("clean"))
	fmt.Println("setidstart=" + nothing("setidstart", ids))
	var sid int
	call("sql_prepare", &sid)
	fmt.Println("sid=" + map[bool]string{true: "ok", false: fmt.Sprint(sid)}[sid > 0])
	paths, _ := filepath.Glob(filepath.Join(dir, "chunk-*"))
	sort.Strings(paths)
	for _, path := range paths {
		bytes, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		nothing("sql_create", sid, xmlrpc.Base64(base64.StdEncoding.EncodeToString(bytes)))
	}
	fmt.Println("finish=" + nothing("sql_finish", sid))
	fmt.Println("again=" + nothing("sql_finish", sid))
	var methods []string
	call("system.listMethods", &methods)
	var help string
	call("system.methodHelp", &help, "diff")
	fmt.Println("methods=" + map[bool]string{true: "ok", false: fmt.Sprint(methods)}[contains(methods, "sql_create") && help != ""])
	fmt.Println("fault=" + fault("sql_finish", 2147483646))
	fmt.Println("unknown=" + fault("no_such_method"))
	var back []interface{}
	text := "é漢字 😀 <&> ]]>"
	call("sync.echo", &back, text, 7, 1.5, true, []interface{}{1, "b"})
	same := len(back) == 5 && back[0] == text && fmt.Sprint(back[1]) == "7" && back[2] == 1.5 && back[3] == true
	fmt.Println("echo=" + map[bool]string{true: "ok", false: fmt.Sprint(back)}[same])
}

func diff(since, file string) {
	var answer string
	call("diff", &answer, since)
	if answer == "" {
		fmt.Println("diff=nil")
		return
	}
	// the library leaves base64 as it is
	bytes, err := base64.StdEncoding.DecodeString(answer)
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(file, bytes, 0o600); err != nil {
		panic(err)
	}
	fmt.Printf("diff=%d\n", len(bytes))
}

func main() {
	var err error
	if shop, err = xmlrpc.NewClient(os.Args[2], nil); err != nil {
		panic(err)
	}
	defer shop.Close()
	if os.Args[1] == "cycle" {
		cycle(os.Args[3], os.Args[4])
	} else {
		diff(os.Args[3], os.Args[4])
	}
}
