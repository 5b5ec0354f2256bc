/**
 * Does a query parameter's name say that its value is a file? The word lists here decide it. Such a value is checked as a file
 * name even without a slash (`?file=server.key`).
 */

/** Word parts that mean a file anywhere in a parameter's name: `filePath`, `upload_file_1`, `sourceDirectory`. */
export const FILE_PARTS: readonly string[] = [
  ...['file', 'path', 'folder', 'director', 'document', 'download', 'upload', 'attach', 'asset'],
  ...['artifact', 'template', 'script', 'config', 'secret', 'certificate', 'backup', 'archive'],
  ...['source', 'resource', 'include', 'import', 'export', 'command', 'manifest', 'notebook'],
]

/** Word endings that mean a file: `docName`, `image_url`, `outDir`. */
export const FILE_ENDINGS: readonly string[] = [
  ...[
    'name',
    'url',
    'uri',
    'src',
    'dir',
    'doc',
    'docs',
    'img',
    'image',
    'href',
    'link',
    'location',
  ],
]

/** Whole words that mean a file: `f`, `data[key]`, `arg`. */
export const FILE_WORDS: readonly string[] = [
  ...[
    'f',
    'fn',
    'fp',
    'p',
    'd',
    'key',
    'keys',
    'dst',
    'dest',
    'destination',
    'target',
    'from',
    'to',
  ],
  ...[
    'old',
    'new',
    'root',
    'cwd',
    'base',
    'page',
    'view',
    'inc',
    'require',
    'load',
    'read',
    'open',
  ],
  ...['fetch', 'get', 'show', 'cat', 'edit', 'save', 'write', 'delete', 'remove', 'rm', 'mv', 'cp'],
  ...[
    'move',
    'copy',
    'rename',
    'dl',
    'res',
    'media',
    'icon',
    'photo',
    'picture',
    'avatar',
    'video',
  ],
  ...['audio', 'object', 'obj', 'blob', 'entry', 'node', 'item', 'tpl', 'tmpl', 'theme', 'layout'],
  ...[
    'style',
    'css',
    'js',
    'module',
    'mod',
    'lib',
    'plugin',
    'conf',
    'cfg',
    'settings',
    'ini',
    'env',
  ],
  ...[
    'dotenv',
    'cert',
    'certs',
    'pem',
    'credential',
    'credentials',
    'bak',
    'log',
    'logs',
    'report',
  ],
  ...[
    'zip',
    'tar',
    'input',
    'output',
    'in',
    'out',
    'arg',
    'args',
    'argv',
    'cmd',
    'exec',
    'run',
    'shell',
  ],
  ...['sh', 'data', 'schema', 'sheet', 'book', 'mount', 'volume', 'drive', 'share', 'tail', 'head'],
  ...['grep', 'glob', 'raw', 'static', 'local', 'remote', 'ref', 'resolve', 'stat', 'ls', 'list'],
]

const PART = new RegExp(FILE_PARTS.join('|'))
const ENDING = new RegExp(`(?:${FILE_ENDINGS.join('|')})$`)
const WORDS: ReadonlySet<string> = new Set(FILE_WORDS)

/**
 * Whether a parameter's name says that its value is a file. A dot does not separate words, because `sort.key` names a property;
 * brackets, hyphens and digits do (`data[key]`, `new-key`, `file1`).
 * @param name the parameter's name, decoded and in lower case
 */
export function namesFile(name: string): boolean {
  if (PART.test(name)) return true
  return name.split(/[^a-z.]+/).some((word) => WORDS.has(word) || ENDING.test(word))
}
