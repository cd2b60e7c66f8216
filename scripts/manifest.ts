// npm run --silent manifest -- --image NAME: prints kube-flannel.yml with that image.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { withImage } from './image/manifest.ts'

const { values } = parseArgs({ options: { image: { type: 'string' } } })
if (values.image === undefined) {
  process.stderr.write('usage: npm run --silent manifest -- --image NAME\n')
  process.exit(2)
}
const text = await readFile(join(import.meta.dirname, '../kube-flannel.yml'), 'utf8')
process.stdout.write(withImage(text, values.image))
