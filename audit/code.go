package audit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// code is what the type-checked Go code says.
type code struct {
	root   string
	module string
	// planForValues is the type whose statements are planned for their values.
	planForValues string
	functions     map[*types.Func]*function
	// queries are the generated methods, by the name of their query.
	queries    map[*types.Func]string
	parameters map[string][]string
	texts      map[string]string
	operations []*Operation
	// commands say for a query which programs reach it, other than by an operation.
	commands map[string][]string
	// middlewares say which queries what stands before operations reaches.
	middlewares map[string][]Use
	// called are the methods that libraries call, as the configuration has it.
	called map[string]bool
	// statements are the places that execute SQL outside the generated code.
	statements []Position
	// allowed are those of the configuration's exemptions that are needed.
	allowed map[string]bool
	// settings are the environment variables of the commands, depends what depends on
	// one that is a choice.
	settings []Setting
	depends  []Setting
	// unlinted are the lines at which linters do not look.
	unlinted []Unlinted
}

type function struct {
	decl *ast.FuncDecl
	pkg  *packages.Package
}

// executing are the methods that send SQL to the database.
var executing = []string{
	"Exec", "Query", "QueryRow", "SendBatch", "CopyFrom", "Prepare", "ExecContext", "QueryContext", "QueryRowContext", "PrepareContext",
	"ExecParams", "ExecPrepared", "ExecStatement", "ExecBatch", "CopyTo", "StartPipeline",
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
		root: root, planForValues: config.PlanForValues, functions: map[*types.Func]*function{}, queries: map[*types.Func]string{},
		parameters: map[string][]string{}, texts: map[string]string{}, commands: map[string][]string{},
		middlewares: map[string][]Use{}, called: map[string]bool{}, allowed: map[string]bool{},
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
			c.readSettings(config, pkg, file)
			c.readComments(pkg, file)
		}
	}
	slices.SortFunc(c.settings, func(a, b Setting) int { return strings.Compare(a.Variable+a.At.String(), b.Variable+b.At.String()) })
	slices.SortFunc(c.operations, func(a, b *Operation) int { return strings.Compare(a.ID, b.ID) })
	for _, operation := range c.operations {
		for object, f := range c.functions {
			if c.position(f.pkg, f.decl.Pos()) == operation.At {
				operation.Uses = c.reach(config, object)
			}
		}
	}
	for object, f := range c.functions {
		if _, ok := config.Middlewares[object.FullName()]; ok {
			c.middlewares[object.FullName()] = c.reach(config, object)
		}
		folder := filepath.Dir(c.position(f.pkg, f.decl.Pos()).File)
		_, called := config.CalledByLibraries[object.FullName()]
		c.called[object.FullName()] = called
		if !called && (!slices.Contains(config.Commands, folder) || !isRoot(object)) {
			continue
		}
		for _, use := range c.reach(config, object) {
			if !slices.Contains(c.commands[use.Query], folder) {
				c.commands[use.Query] = append(c.commands[use.Query], folder)
			}
		}
	}
	for _, users := range c.commands {
		slices.Sort(users)
	}
	return c, nil
}

// readComments notes where linters are told not to look.
func (c *code) readComments(pkg *packages.Package, file *ast.File) {
	if ast.IsGenerated(file) {
		return
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if text, ok := strings.CutPrefix(comment.Text, "//nolint:"); ok {
				linters, reason, _ := strings.Cut(text, " ")
				reason = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(reason), "//"))
				c.unlinted = append(c.unlinted, Unlinted{c.position(pkg, comment.Pos()).String(), strings.Split(linters, ","), reason})
			}
		}
	}
}

// isRoot says whether a program begins with a function: main, init, or a method Run,
// which libraries for commands call by its name.
func isRoot(f *types.Func) bool {
	if f.Signature().Recv() != nil {
		return f.Name() == "Run"
	}
	return f.Name() == "main" || f.Name() == "init"
}

// readSettings notes the fields of structs whose tag names an environment variable,
// the variables that are read by their names, and the comparisons with a field that
// is a choice.
func (c *code) readSettings(config Config, pkg *packages.Package, file *ast.File) {
	if !slices.Contains(config.Commands, filepath.Dir(c.position(pkg, file.Pos()).File)) {
		return
	}
	within := ""
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			within = node.Name.Name
		case *ast.Field:
			if tag := tagOf(node); tag.Get("env") != "" {
				help := strings.NewReplacer("${default}", tag.Get("default"), "${enum}", tag.Get("enum")).Replace(tag.Get("help"))
				c.settings = append(c.settings, Setting{tag.Get("env"), tag.Get("default"), help, c.position(pkg, node.Pos())})
			}
		case *ast.CallExpr:
			if f := callee(pkg, node); f != nil && (f.FullName() == "os.Getenv" || f.FullName() == "os.LookupEnv") {
				if variable := variableOf(pkg, node.Args[0]); variable != "*" {
					c.settings = append(c.settings, Setting{variable, "", "Read in " + within + ".", c.position(pkg, node.Pos())})
				}
			}
		case *ast.BinaryExpr:
			if selector, ok := node.X.(*ast.SelectorExpr); ok {
				if variable := choiceOf(pkg, selector); variable != "" {
					c.depends = append(c.depends, Setting{variable, types.ExprString(node), "in " + within, c.position(pkg, node.Pos())})
				}
			}
		}
		return true
	})
}

func tagOf(field *ast.Field) reflect.StructTag {
	if field.Tag == nil {
		return ""
	}
	text, _ := strconv.Unquote(field.Tag.Value) // The compiler has taken it.
	return reflect.StructTag(text)
}

// variableOf returns the name of an environment variable, with * for what is not constant.
func variableOf(pkg *packages.Package, name ast.Expr) string {
	if value := pkg.TypesInfo.Types[name].Value; value != nil {
		return constant.StringVal(value)
	}
	if sum, ok := name.(*ast.BinaryExpr); ok {
		return variableOf(pkg, sum.X) + variableOf(pkg, sum.Y)
	}
	return "*"
}

// choiceOf returns the variable behind a field that takes one of some values.
func choiceOf(pkg *packages.Package, selector *ast.SelectorExpr) (variable string) {
	field, ok := pkg.TypesInfo.Uses[selector.Sel].(*types.Var)
	if !ok || !field.IsField() {
		return ""
	}
	for _, file := range pkg.Syntax {
		ast.Inspect(file, func(node ast.Node) bool {
			if declared, ok := node.(*ast.Field); ok && declared.Pos() <= field.Pos() && field.Pos() < declared.End() {
				if tag := tagOf(declared); tag.Get("enum") != "" {
					variable = tag.Get("env")
				}
			}
			return true
		})
	}
	return variable
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

// readStatements finds what executes SQL outside the generated code: the methods
// that do, called or taken as values, also by an interface of one's own.
func (c *code) readStatements(config Config, pkg *packages.Package, file *ast.File) {
	at := c.position(pkg, file.Pos())
	if filepath.Dir(at.File) == config.Generated && ast.IsGenerated(file) {
		return
	}
	allowed := ""
	for path := range config.SQLAllowed {
		if at.File == path || strings.HasPrefix(at.File, path+"/") {
			allowed = path
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		method := named(pkg, selector)
		switch {
		case method == nil || !c.executes(config, method):
		case allowed != "":
			c.allowed[allowed] = true
		default:
			c.statements = append(c.statements, c.position(pkg, selector.Pos()))
		}
		return true
	})
}

// executes says whether a method sends SQL to the database: by its name, and by
// where it or, for a method of an interface, one of its results is from.
func (c *code) executes(config Config, method *types.Func) bool {
	receiver := method.Signature().Recv()
	if receiver == nil || method.Pkg() == nil || !slices.Contains(executing, method.Name()) {
		return false
	}
	generated := filepath.ToSlash(filepath.Join(c.module, config.Generated))
	from := func(path string) bool {
		return strings.HasPrefix(path, "github.com/jackc/pgx/") || path == "database/sql" || path == generated
	}
	if from(method.Pkg().Path()) {
		return true
	}
	if _, ok := receiver.Type().Underlying().(*types.Interface); !ok {
		return false // What it does is in its body.
	}
	for result := range method.Signature().Results().Variables() {
		of := result.Type()
		if pointer, ok := of.(*types.Pointer); ok {
			of = pointer.Elem()
		}
		if named, ok := of.(*types.Named); ok && named.Obj().Pkg() != nil && from(named.Obj().Pkg().Path()) {
			return true
		}
	}
	return false
}

// reach returns the queries that a function can reach: those whose methods it
// names, and those of every function that it names. A method of an interface
// stands for that of each type here that implements it.
func (c *code) reach(config Config, from *types.Func) []Use {
	w := &walk{code: c, config: config, seen: map[step]bool{}, uses: map[Use]bool{}}
	w.visit(step{function: from})
	var sorted []Use
	for use := range w.uses {
		sorted = append(sorted, use)
	}
	slices.SortFunc(sorted, func(a, b Use) int {
		return strings.Compare(fmt.Sprint(a.Query, a.Transaction, a.Again, a.Repeated), fmt.Sprint(b.Query, b.Transaction, b.Again, b.Repeated))
	})
	return sorted
}

// step is a function on the way, in the transaction and the loop of its caller.
type step struct {
	function    *types.Func
	transaction string
	again       bool // The transaction is in a loop.
	repeated    bool
}

func (s step) to(function *types.Func) step {
	s.function = function
	return s
}

func (s step) inLoop() step {
	s.repeated = true
	return s
}

type walk struct {
	*code
	config Config
	seen   map[step]bool
	uses   map[Use]bool
}

func (w *walk) visit(s step) {
	if w.seen[s] {
		return
	}
	w.seen[s] = true
	if query, ok := w.queries[s.function]; ok {
		w.uses[Use{Query: query, Transaction: s.transaction, Again: s.again, Repeated: s.repeated}] = true
		return
	}
	for _, implementation := range w.implementations(s.function) {
		w.visit(s.to(implementation))
	}
	if f := w.functions[s.function]; f != nil {
		w.inspect(f, f.decl.Body, s, f.decl)
	}
}

// inspect follows what a part of a function names. scope is what the values of the
// transaction are declared in.
func (w *walk) inspect(f *function, root ast.Node, s step, scope ast.Node) {
	ast.Inspect(root, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ForStmt:
			if !s.repeated {
				w.inspect(f, node, s.inLoop(), scope)
				return false
			}
		case *ast.RangeStmt:
			if !s.repeated {
				w.inspect(f, node.X, s, scope)
				w.inspect(f, node.Body, s.inLoop(), scope)
				return false
			}
		case *ast.CallExpr:
			called := callee(f.pkg, node)
			switch {
			case w.registers(w.config, f.pkg, node):
				return false // Handlers belong to their operations.
			case called != nil && slices.Contains(w.config.Transactions, called.FullName()) && s.transaction == "":
				at := w.position(f.pkg, node.Pos()).String()
				for _, argument := range node.Args {
					// A loop around a transaction makes several of it.
					w.inspect(f, argument, step{s.function, at, s.repeated, false}, argument)
				}
				w.visit(s.to(called))
				return false
			}
		case *ast.SelectorExpr:
			method, ok := f.pkg.TypesInfo.Uses[node.Sel].(*types.Func)
			if !ok {
				return true
			}
			query, ok := w.queries[method.Origin()]
			if !ok {
				return true
			}
			use := Use{Query: query, Transaction: s.transaction, Again: s.again, Repeated: s.repeated, ForValues: w.forValues(f.pkg, node.X)}
			if !declaredIn(f.pkg, node.X, scope) {
				use.Transaction, use.Again, use.Around = "", false, s.transaction
			}
			w.uses[use] = true
			w.inspect(f, node.X, s, scope)
			return false
		case *ast.Ident:
			if used, ok := f.pkg.TypesInfo.Uses[node].(*types.Func); ok {
				w.visit(s.to(used.Origin()))
			}
		}
		return true
	})
}

// declaredIn says whether a value comes from within a scope: a variable declared
// there, not a field, and not a variable from outside, nor one made of these.
func declaredIn(pkg *packages.Package, expression ast.Expr, scope ast.Node) bool {
	inside := true
	ast.Inspect(expression, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if selection := pkg.TypesInfo.Selections[node]; selection != nil && selection.Kind() == types.FieldVal {
				inside = false
			}
		case *ast.Ident:
			if variable, ok := pkg.TypesInfo.Uses[node].(*types.Var); ok && !variable.IsField() {
				inside = inside && scope.Pos() <= variable.Pos() && variable.Pos() < scope.End()
				if value := valueOf(pkg, variable, scope); value != nil {
					inside = inside && declaredIn(pkg, value, scope)
				}
			}
		}
		return inside
	})
	return inside
}

// valueOf returns what a variable is declared with in a scope, nil where it is a
// parameter, or one of several results.
func valueOf(pkg *packages.Package, variable *types.Var, scope ast.Node) (value ast.Expr) {
	ast.Inspect(scope, func(node ast.Node) bool {
		if assigned, ok := node.(*ast.AssignStmt); ok && len(assigned.Lhs) == len(assigned.Rhs) {
			for i, left := range assigned.Lhs {
				if name, ok := left.(*ast.Ident); ok && pkg.TypesInfo.Defs[name] == variable {
					value = assigned.Rhs[i]
				}
			}
		}
		return value == nil
	})
	return value
}

// forValues says whether a receiver has its statements planned for their values.
func (c *code) forValues(pkg *packages.Package, receiver ast.Expr) bool {
	found := false
	ast.Inspect(receiver, func(node ast.Node) bool {
		if literal, ok := node.(*ast.CompositeLit); ok {
			found = found || types.TypeString(pkg.TypesInfo.TypeOf(literal), nil) == c.planForValues
		}
		return !found
	})
	return found
}

// implementations are the methods here that a method of an interface may be.
func (c *code) implementations(method *types.Func) []*types.Func {
	receiver := method.Signature().Recv()
	if receiver == nil {
		return nil
	}
	asked, ok := receiver.Type().Underlying().(*types.Interface)
	if !ok {
		return nil
	}
	var found []*types.Func
	for candidate := range c.functions {
		if candidate.Name() != method.Name() || candidate.Signature().Recv() == nil {
			continue
		}
		if of := candidate.Signature().Recv().Type(); types.Implements(of, asked) || types.Implements(types.NewPointer(of), asked) {
			found = append(found, candidate)
		}
	}
	return found
}
