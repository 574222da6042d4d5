def main(event):
    return {"greeting": f"Hello, {event.body['name']}"}
