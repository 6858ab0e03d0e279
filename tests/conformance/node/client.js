// Submits a task with Celery's client in Node, and prints its result: node client.js TASK ARGUMENT…
const celery = require("celery-node");

const client = celery.createClient(process.env.AMQP_URL, process.env.REDIS_URL, "golden");
const [task, ...args] = process.argv.slice(2);
client
  .createTask(task)
  .applyAsync(args.map(Number))
  .get(30000)
  .then((result) => console.log(JSON.stringify(result)))
  .finally(() => client.disconnect());
