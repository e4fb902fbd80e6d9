package audit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// code is what the type-checked Go code says.
type code struct {
	root      string
	module    string
	functions map[*types.Func]*function
	// queries are the generated methods, by the name of their query.
	queries    map[*types.Func]string
	parameters map[string][]string
	texts      map[string]string
	operations []*Operation
	// commands are the queries that programs reach other than by serving.
	commands map[string][]string
	// statements are the places that execute SQL outside the generated code.
	statements []Position
}

type function struct {
	decl *ast.FuncDecl
	pkg  *packages.Package
}

// executing are the methods that send SQL to the database.
var executing = []string{
	"Exec", "Query", "QueryRow", "SendBatch", "CopyFrom", "Prepare", "ExecContext", "QueryContext", "QueryRowContext", "PrepareContext",
	"ExecParams", "ExecPrepared",
}

func readCode(config Config) (*code, error) {
	root, err := filepath.Abs(config.Root)
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Dir: root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo | packages.NeedTypesSizes |
			packages.NeedExportFile | packages.NeedModule,
	}, "./...")
	if err != nil {
		return nil, fmt.Errorf("load the code: %w", err)
	}
	c := &code{
		root: root, functions: map[*types.Func]*function{}, queries: map[*types.Func]string{},
		parameters: map[string][]string{}, texts: map[string]string{}, commands: map[string][]string{},
	}
	for _, pkg := range loaded {
		if pkg.Module != nil {
			c.module = pkg.Module.Path
		}
		for _, problem := range pkg.Errors {
			err = errors.Join(err, problem)
		}
		for _, file := range pkg.Syntax {
			for _, declaration := range file.Decls {
				decl, ok := declaration.(*ast.FuncDecl)
				if !ok || decl.Body == nil {
					continue
				}
				if object, ok := pkg.TypesInfo.Defs[decl.Name].(*types.Func); ok {
					c.functions[object] = &function{decl, pkg}
				}
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("type-check the code: %w", err)
	}
	for object, f := range c.functions {
		c.readQuery(config, object, f)
	}
	for _, pkg := range loaded {
		for _, file := range pkg.Syntax {
			c.readOperations(config, pkg, file)
			c.readStatements(config, pkg, file)
		}
	}
	slices.SortFunc(c.operations, func(a, b *Operation) int { return strings.Compare(a.ID, b.ID) })
	for _, operation := range c.operations {
		for object, f := range c.functions {
			if c.position(f.pkg, f.decl.Pos()) == operation.At {
				operation.Uses = c.reach(config, object)
			}
		}
	}
	for object, f := range c.functions {
		folder := filepath.Dir(c.position(f.pkg, f.decl.Pos()).File)
		if slices.Contains(config.Commands, folder) {
			for _, use := range c.reach(config, object) {
				if !slices.Contains(c.commands[use.Query], folder) {
					c.commands[use.Query] = append(c.commands[use.Query], folder)
				}
			}
		}
	}
	return c, nil
}

func (c *code) position(pkg *packages.Package, at token.Pos) Position {
	position := pkg.Fset.Position(at)
	file, err := filepath.Rel(c.root, position.Filename)
	if err != nil {
		file = position.Filename
	}
	return Position{filepath.ToSlash(file), position.Line}
}

// readQuery notes a generated method, its query, and the parameters in the order
// in which it passes them.
func (c *code) readQuery(config Config, object *types.Func, f *function) {
	if filepath.Dir(c.position(f.pkg, f.decl.Pos()).File) != config.Generated || f.decl.Recv == nil {
		return
	}
	ast.Inspect(f.decl.Body, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		named, ok := f.pkg.TypesInfo.Types[call.Args[1]]
		if !ok || named.Value == nil || named.Value.Kind() != constant.String {
			return true
		}
		text, ok := strings.CutPrefix(constant.StringVal(named.Value), "-- name: ")
		if !ok {
			return true
		}
		name, _, _ := strings.Cut(text, " ")
		c.queries[object], c.texts[name] = name, constant.StringVal(named.Value)
		for _, argument := range call.Args[2:] {
			switch argument := argument.(type) {
			case *ast.SelectorExpr:
				c.parameters[name] = append(c.parameters[name], snake(argument.Sel.Name))
			case *ast.Ident:
				c.parameters[name] = append(c.parameters[name], snake(argument.Name))
			}
		}
		return false
	})
}

// snake turns BeforeStartedAt into before_started_at.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// callee returns the function that a call calls, nil when that is not known.
func callee(pkg *packages.Package, call *ast.CallExpr) *types.Func {
	expression := ast.Unparen(call.Fun)
	switch indexed := expression.(type) {
	case *ast.IndexExpr:
		expression = indexed.X
	case *ast.IndexListExpr:
		expression = indexed.X
	}
	return named(pkg, expression)
}

// named returns the function that an expression names.
func named(pkg *packages.Package, expression ast.Expr) *types.Func {
	var identifier *ast.Ident
	switch expression := ast.Unparen(expression).(type) {
	case *ast.Ident:
		identifier = expression
	case *ast.SelectorExpr:
		identifier = expression.Sel
	default:
		return nil
	}
	object, ok := pkg.TypesInfo.Uses[identifier].(*types.Func)
	if !ok {
		return nil
	}
	return object.Origin()
}

// readOperations finds the calls that register operations.
func (c *code) readOperations(config Config, pkg *packages.Package, file *ast.File) {
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || !c.registers(config, pkg, call) {
			return true
		}
		operation := &Operation{Registered: c.position(pkg, call.Pos())}
		for _, argument := range call.Args {
			literal, ok := argument.(*ast.CompositeLit)
			if !ok {
				continue
			}
			for _, element := range literal.Elts {
				field, ok := element.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				name, _ := field.Key.(*ast.Ident)
				value := pkg.TypesInfo.Types[field.Value].Value
				if name == nil || value == nil || value.Kind() != constant.String {
					continue
				}
				switch name.Name {
				case "OperationID":
					operation.ID = constant.StringVal(value)
				case "Method":
					operation.Method = constant.StringVal(value)
				case "Path":
					operation.Path = constant.StringVal(value)
				}
			}
		}
		if operation.ID == "" {
			return true // The register function's own call of the library.
		}
		if handler := named(pkg, call.Args[len(call.Args)-1]); handler != nil {
			if f := c.functions[handler]; f != nil {
				operation.Handler, operation.At = handler.Name(), c.position(f.pkg, f.decl.Pos())
			}
		}
		c.operations = append(c.operations, operation)
		return true
	})
}

func (c *code) registers(config Config, pkg *packages.Package, call *ast.CallExpr) bool {
	function := callee(pkg, call)
	return function != nil && slices.Contains(config.Register, function.FullName())
}

// readStatements finds the calls that execute SQL outside the generated code.
func (c *code) readStatements(config Config, pkg *packages.Package, file *ast.File) {
	at := c.position(pkg, file.Pos())
	if filepath.Dir(at.File) == config.Generated && ast.IsGenerated(file) {
		return
	}
	for allowed := range config.SQLAllowed {
		if at.File == allowed || strings.HasPrefix(at.File, allowed+"/") {
			return
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		method := callee(pkg, call)
		if method == nil || method.Pkg() == nil || !slices.Contains(executing, method.Name()) || method.Signature().Recv() == nil {
			return true
		}
		from := method.Pkg().Path()
		generated := filepath.ToSlash(filepath.Join(c.module, config.Generated))
		if strings.HasPrefix(from, "github.com/jackc/pgx/") || from == "database/sql" || from == generated {
			c.statements = append(c.statements, c.position(pkg, call.Pos()))
		}
		return true
	})
}

// reach returns the queries that a function can reach, each with the transaction
// in which it runs.
func (c *code) reach(config Config, from *types.Func) []Use {
	type step struct {
		function    *types.Func
		transaction string
	}
	seen, uses := map[step]bool{}, map[Use]bool{}
	var visit func(step)
	visit = func(s step) {
		if seen[s] {
			return
		}
		seen[s] = true
		if query, ok := c.queries[s.function]; ok {
			uses[Use{query, s.transaction}] = true
			return
		}
		f := c.functions[s.function]
		if f == nil {
			return
		}
		var inspect func(node ast.Node, transaction string)
		inspect = func(root ast.Node, transaction string) {
			ast.Inspect(root, func(node ast.Node) bool {
				switch node := node.(type) {
				case *ast.CallExpr:
					called := callee(f.pkg, node)
					switch {
					case c.registers(config, f.pkg, node):
						return false // Handlers belong to their operations.
					case called != nil && called.FullName() == config.Transaction && transaction == "":
						for _, argument := range node.Args {
							inspect(argument, c.position(f.pkg, node.Pos()).String())
						}
						visit(step{called, transaction})
						return false
					}
				case *ast.Ident:
					if used, ok := f.pkg.TypesInfo.Uses[node].(*types.Func); ok {
						visit(step{used.Origin(), transaction})
					}
				}
				return true
			})
		}
		inspect(f.decl.Body, s.transaction)
	}
	visit(step{function: from})
	var sorted []Use
	for use := range uses {
		sorted = append(sorted, use)
	}
	slices.SortFunc(sorted, func(a, b Use) int {
		return strings.Compare(a.Query+" "+a.Transaction, b.Query+" "+b.Transaction)
	})
	return sorted
}
