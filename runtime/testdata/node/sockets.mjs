export default () => 'no upgrade';
export function upgrade(req, socket, head) {
  if (req.url === '/refuse') {
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nX-Why: because\r\n\r\nno');
    return;
  }
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhi');
  socket.on('data', (d) => socket.write(d.toString().toUpperCase()));
  socket.on('end', () => socket.end('bye'));
}
