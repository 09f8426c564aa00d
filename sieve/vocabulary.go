package sieve

import "slices"

// The vocabulary: every command and test but require, if, elsif and else, with what it
// takes. It is filled by init because the functions that compile blocks and tests look
// words up in it.
var (
	commandWords map[string]*definition
	testWords    map[string]*definition
)

func commandNamed(name string) *definition { return commandWords[name] }

func testNamed(name string) *definition { return testWords[name] }

var (
	oneString   = []argumentKind{kindString}
	oneStrings  = []argumentKind{kindStrings}
	twoStrings  = []argumentKind{kindString, kindString}
	twoLists    = []argumentKind{kindStrings, kindStrings}
	stringLists = []argumentKind{kindString, kindStrings}
)

func init() {
	commandWords = commandVocabulary()
	testWords = testVocabulary()
}

func commandVocabulary() map[string]*definition {
	return map[string]*definition{
		"stop":     {command: compileStop},
		"keep":     {tags: flagsTags, command: compileKeep},
		"discard":  {command: compileDiscard},
		"fileinto": {extension: extFileInto, tags: slices.Concat(copyTags, targetTags), args: oneString, command: compileFileInto},
		"redirect": {tags: slices.Concat(copyTags, sendingTags), args: oneString, command: compileRedirect},

		"reject":  {extension: extReject, args: oneString, command: compileReject},
		"ereject": {extension: extEReject, args: oneString, command: compileReject},

		"set": {extension: extVariables, tags: modifierTags, args: twoStrings, command: compileSet},

		"setflag":    {extension: extFlags, args: stringLists, first: true, command: compileFlags},
		"addflag":    {extension: extFlags, args: stringLists, first: true, command: compileFlags},
		"removeflag": {extension: extFlags, args: stringLists, first: true, command: compileFlags},

		"addheader":    {extension: extEditHeader, tags: addHeaderTags, args: twoStrings, command: compileAddHeader},
		"deleteheader": {extension: extEditHeader, tags: deleteHeaderTags, args: stringLists, last: true, command: compileDeleteHeader},

		"vacation": {extension: extVacation, tags: vacationTags, args: oneString, command: compileVacation},
		"notify":   {extension: extNotify, tags: notifyTags, args: oneString, command: compileNotify},

		"include": {extension: extInclude, tags: includeTags, args: oneString, command: compileInclude},
		"return":  {extension: extInclude, command: compileReturn},
		"global":  {extension: extInclude, args: oneStrings, command: compileGlobal},

		"error": {extension: extIHave, args: oneString, command: compileError},

		"foreverypart": {extension: extForEveryPart, tags: []tagRule{{name: "name", value: kindString}}, block: true, command: compileForEveryPart},
		"break":        {extension: extForEveryPart, tags: []tagRule{{name: "name", value: kindString}}, command: compileBreak},
		"extracttext":  {extension: extExtractText, tags: extractTags, args: oneString, command: compileExtractText},
		"replace":      {extension: extReplace, tags: replaceTags, args: oneString, command: compileReplace},
		"enclose":      {extension: extEnclose, tags: encloseTags, args: oneString, command: compileEnclose},
	}
}

func testVocabulary() map[string]*definition {
	return map[string]*definition{
		"true":  {test: compileTrue},
		"false": {test: compileFalse},
		"not":   {tests: 1, test: compileNot},
		"allof": {tests: manyTests, test: compileAllOf},
		"anyof": {tests: manyTests, test: compileAnyOf},

		"header":  {tags: slices.Concat(mimeOptionTags, indexTags, matchTags), args: twoLists, test: compileHeader},
		"address": {tags: slices.Concat(mimeTags, indexTags, addressPartTags, matchTags), args: twoLists, test: compileAddress},
		"exists":  {tags: mimeTags, args: oneStrings, test: compileExists},
		"size": {tags: []tagRule{{name: "over", value: kindNumber, group: "size"}, {name: "under", value: kindNumber, group: "size"}},
			test: compileSize},
		"envelope": {extension: extEnvelope, tags: slices.Concat(envelopeTags, matchTags), args: twoLists, test: compileEnvelope},

		"string":      {extension: extVariables, tags: matchTags, args: twoLists, test: compileString},
		"hasflag":     {extension: extFlags, tags: matchTags, args: twoLists, first: true, test: compileHasFlag},
		"body":        {extension: extBody, tags: bodyTags, args: oneStrings, test: compileBody},
		"environment": {extension: extEnvironment, tags: matchTags, args: stringLists, test: compileEnvironment},
		"ihave":       {extension: extIHave, args: oneStrings, test: compileIHave},
		"duplicate":   {extension: extDuplicate, tags: duplicateTags, test: compileDuplicate},

		"date": {extension: extDate, tags: slices.Concat(originalZoneTags, indexTags, matchTags),
			args: []argumentKind{kindString, kindString, kindStrings}, test: compileDate},
		"currentdate": {extension: extDate, tags: slices.Concat(zoneTags, matchTags), args: stringLists, test: compileCurrentDate},

		"mailboxexists":     {extension: extMailbox, args: oneStrings, test: compileMailboxExists},
		"mailboxidexists":   {extension: extMailboxID, args: oneStrings, test: compileMailboxExists},
		"specialuse_exists": {extension: extSpecialUse, args: stringLists, first: true, test: compileSpecialUse},
		"metadata": {extension: extMboxMetadata, tags: matchTags,
			args: []argumentKind{kindString, kindString, kindStrings}, test: compileMetadata},
		"metadataexists":       {extension: extMboxMetadata, args: stringLists, test: compileMetadataExists},
		"servermetadata":       {extension: extServerMetadata, tags: matchTags, args: stringLists, test: compileMetadata},
		"servermetadataexists": {extension: extServerMetadata, args: oneStrings, test: compileMetadataExists},

		"valid_notify_method": {extension: extNotify, args: oneStrings, test: compileValidMethod},
		"notify_method_capability": {extension: extNotify, tags: matchTags,
			args: []argumentKind{kindString, kindString, kindStrings}, test: compileMethodCapability},
	}
}
