export default async (event) => ({ greeting: `Hello, ${event.body.name}` });
