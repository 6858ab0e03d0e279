// A worker of Celery in Node that consumes the same queue.
const celery = require("celery-node");

const worker = celery.createWorker(process.env.AMQP_URL, process.env.REDIS_URL, "golden");
worker.register("golden.multiply", (x, y) => x * y);
worker.register("golden.wrong", () => {
  throw new Error("wrong in node");
});
worker.start();
console.log("worker started");
