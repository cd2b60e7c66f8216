import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readSystemAuthorities } from '../../subnet/etcd/system-authorities.ts'
import { Certificates } from '../etcd/certificates.ts'

// What Go, and so flannel, does: crypto/x509, loadSystemRoots.
describe('readSystemAuthorities', () => {
  let folder: string
  let pem: readonly [string, string]
  const at = (name: string) => join(folder, name)
  const count = (found: Buffer) => String(found).match(/BEGIN CERTIFICATE/g)?.length ?? 0

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flannel-roots-'))
    const certificates = new Certificates(folder)
    await certificates.authority('a')
    await certificates.authority('b')
    pem = [await readFile(at('a.crt'), 'utf8'), await readFile(at('b.crt'), 'utf8')]
    await mkdir(at('dir'))
    await writeFile(at('dir/b.pem'), pem[1])
    await writeFile(at('dir/README'), 'no certificate')
    await symlink('b.pem', at('dir/0a1b2c3d.0'))
    await symlink(at('a.crt'), at('dir/elsewhere.pem'))
    await mkdir(at('empty'))
  })
  after(async () => {
    await rm(folder, { recursive: true })
  })

  it('reads the file, and every certificate in it', async () => {
    const broken = '-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n'
    await writeFile(at('bundle'), `# words\n${pem[0]}${broken}\n${pem[1]}${pem[1]}`)
    const found = await readSystemAuthorities({ file: at('bundle'), directories: at('empty') })
    assert.equal(count(found), 2)
  })

  it('reads the directories, too, without the links by hash', async () => {
    const found = await readSystemAuthorities({ file: at('nowhere'), directories: `${at('missing')}:${at('dir')}` })
    assert.equal(count(found), 2)
    assert.ok(String(found).includes(pem[1].trim()))
  })

  it('says where it looked when there is nobody to believe', async () => {
    await assert.rejects(
      readSystemAuthorities({ file: at('nowhere'), directories: at('empty') }),
      new RegExp(`no certificate authorities of the system in ${at('nowhere')}, ${at('empty')}: .*--etcd-cafile`),
    )
  })
})
