// Answers the probes of a changing node in the name of many peers, each at an address of its own. Prints `ready` when it does.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import process from 'node:process'
import { PROBE_PORTS } from '../../kernel/kinds/probe-rule/ports.ts'

const [QUESTION, ANSWER] = [Buffer.from('flannel?'), Buffer.from('flannel!')]
const MESSAGE_BYTES = 24

for (const address of process.argv.slice(2)) {
  const socket = createSocket('udp4')
  socket.on('message', (message, { address: to, port }) => {
    if (!message.subarray(0, QUESTION.length).equals(QUESTION)) return
    socket.send(Buffer.concat([ANSWER, message.subarray(QUESTION.length)], MESSAGE_BYTES), port, to)
  })
  socket.bind(PROBE_PORTS[0].answers, address)
  await once(socket, 'listening')
}
process.stdout.write('ready\n')
