// A program for bundle.test.ts: loads all that is hard to bundle and prints one JSON document.
import { Client, credentials } from '@grpc/grpc-js'
import koffi from 'koffi'
import { range } from '../../subnet/etcd/rpc.ts'

const getpid = koffi.load('libc.so.6').func('int getpid()')
new Client('127.0.0.1:1', credentials.createInsecure()).close()
process.stdout.write(
  JSON.stringify({
    samePid: getpid() === process.pid,
    // Beyond the numbers of JavaScript.
    count: range.response.decode(range.response.encode({ count: 2n ** 62n })).count,
    file: import.meta.filename,
    url: import.meta.url,
    node: process.version,
  }),
)
