// A program for bundle.test.ts: loads all that is hard to bundle and prints one JSON document.
import { ConnectionPool } from 'etcd3/lib/connection-pool.js'
import koffi from 'koffi'

const getpid = koffi.load('libc.so.6').func('int getpid()')
const client = new ConnectionPool({ hosts: 'http://127.0.0.1:1' })
client.close()
process.stdout.write(
  JSON.stringify({
    samePid: getpid() === process.pid,
    file: import.meta.filename,
    url: import.meta.url,
    node: process.version,
  }),
)
