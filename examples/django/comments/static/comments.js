// Hear that the comments changed, fetch them, show them. The hub is told nothing that is secret.
const list = document.querySelector('#comments');

async function refresh() {
  const response = await fetch(list.dataset.url, { cache: 'no-store' });
  if (!response.ok) return;
  const { comments } = await response.json();
  list.replaceChildren(...comments.map((comment) => {
    const item = document.createElement('li');
    const name = document.createElement('b');
    name.textContent = comment.name;
    item.append(name, ' ', comment.text);
    return item;
  }));
}

Fanout.subscribe(list.dataset.channel, refresh, { position: list.dataset.position });
